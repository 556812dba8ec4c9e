"""What each command does, for programs: train, resume, experiment, demo, doctor.

Not here: command-line options (`cli`). Start with `train.py`.
"""
