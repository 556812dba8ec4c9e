"""Import of pretrained weights from other projects, one module per model family.

The entry point is `import_model.py`. Checkpoint files are read only in the child process of `sandbox.py`.
"""
