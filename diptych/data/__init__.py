"""Data: from files to batches.

Not here: metrics, and what a method does with a batch. Start with `open.py`: `sources/` lists images and labels,
`checks/` scans them for damage, `images/` decodes and transforms one image, `batches.py` yields batch number `step`.
"""
