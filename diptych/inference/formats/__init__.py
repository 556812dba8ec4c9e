"""Sources and sinks of large image files: tiled TIFF, whole-slide files, GeoTIFF, zarr and NumPy arrays.

`opening.py` has `open_source` and `create_sink`. The libraries are those of the extra `large`, imported when needed.
"""
