"""The run folder, what a training leaves behind: settings, checkpoints, events, previews, report.

Not here: training itself. Start with `folder.py`.
"""
