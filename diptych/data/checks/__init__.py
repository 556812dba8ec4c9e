"""Checks of a data set before training: damaged, duplicate, mislabelled, unread and odd-sized images.

Not here: the settings that decide what to do about them. Start with `problems.py`, what `diptych data check` prints.
"""
