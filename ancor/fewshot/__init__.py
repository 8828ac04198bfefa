"""Classify one's own images from a few labeled ones: the Python API."""
