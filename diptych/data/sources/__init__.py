"""Data sets by their layout on disk, one file a kind: pairs, class folders, attribute tables, the embedded letters.

Not here: decoding. Start with `pairs.py`; `data/open.py` chooses the source.
"""
