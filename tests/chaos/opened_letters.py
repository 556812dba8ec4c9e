"""Imported before processes are forked: the letters are drawn and compared once, not in each of them."""

from diptych.data.sources.glyphs import split_indices

split_indices()
