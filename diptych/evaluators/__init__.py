"""Evaluator networks: a classifier and a segmenter, trained on real images to score translations.

Not here: the metrics computed with them (`evaluation/metrics`). Start with `classifier.py`.
"""
