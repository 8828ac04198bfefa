"""Every figure; the only modules that import matplotlib."""
