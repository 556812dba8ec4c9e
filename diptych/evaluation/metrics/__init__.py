"""Metrics, one file for each kind of input: pairs, sets of images, label maps, controls.

The metrics that a protocol reports are listed in `evaluation/protocols`. Start with `table.py`, the list of all metrics.
"""
