"""Operating system and hardware: files, processes, devices, signals, terminals.

Not here: anything about images, methods or runs. Start with `atomic_files.py`.
"""
