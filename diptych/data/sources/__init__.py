"""Data sets by their layout on disk, one module for each kind: pairs, class folders, attribute tables, letters.

Not here: decoding. Start with `pairs.py`; `data/open.py` chooses the source.
"""
