"""Checkpoints: reading and writing them, names of published files, exports."""
