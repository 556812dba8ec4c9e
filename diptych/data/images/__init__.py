"""A single image: file to pixels, pixels to values in [-1, 1], and back.

Not here: lists of images. Start with `image_io.py`, the only place where bytes become pixels.
"""
