"""Scores of translations: samples of a run, metrics on them, protocols that fix both, comparisons of results.

Not here: evaluating during training (`workflows/validation.py`). Start with `runner.py`.
"""
