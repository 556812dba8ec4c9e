"""Volumes of the sciences, read and written slice by slice: NIfTI, DICOM series, HDF5 and zarr."""
