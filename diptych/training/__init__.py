"""The training loop: one step (`engine.py`), all steps (`trainer.py`), and what they need.

Not here: any method, and how a run is prepared (`workflows/train.py`). Start with `trainer.py`.
"""
