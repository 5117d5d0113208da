"""A checkpoint on disk, the bundle: its index, its data files, how they are written."""
