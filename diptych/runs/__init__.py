"""The run folder, which a training writes: settings, checkpoints, events, previews, report.

Not here: training itself (`training`). Start with `folder.py`.
"""
