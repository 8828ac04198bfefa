"""Datasets, label hierarchies, transforms and episodes."""
