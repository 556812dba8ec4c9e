"""Metrics, one file for each kind of input: pairs, sets of images, label maps, controls.

Not here: which metrics a protocol reports (`evaluation/protocols`). Start with `table.py`, the list of all metrics.
"""
