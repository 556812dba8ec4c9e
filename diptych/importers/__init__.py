"""Published weights of other projects as models of Diptych, one file for each family.

Not here: training. Start with `import_model.py`; foreign files are only read in the child process of `sandbox.py`.
"""
