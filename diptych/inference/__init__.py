"""Use of trained models: load a run or model folder, translate images of any size, generate, save.

Not here: metrics. Start with `load.py`, then `translator.py`.
"""
