"""Checks of a data set before training: damaged, duplicate and unread files, labels, sizes, value ranges.

Not here: the settings that decide what happens to them. Start with `problems.py`: the output of `diptych data check`.
"""
