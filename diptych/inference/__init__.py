"""Use of trained models: load a run, a model folder or an ONNX file, translate images of any size, generate, save.

Not here: metrics. Start with `open_model.py`, then `image_translator.py`.
"""
