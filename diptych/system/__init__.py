"""What the operating system and the hardware give: files, processes, devices, signals, terminals.

Not here: anything that knows of images, methods or runs. Start with `atomic_files.py`.
"""
