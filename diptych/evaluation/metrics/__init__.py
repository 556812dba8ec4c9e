"""Metrics, one file for each kind of input: pairs, sets of images, label maps, controls.

`evaluation/protocols` lists the metrics that a protocol reports. Start with `table.py`, the list of all metrics.
"""
