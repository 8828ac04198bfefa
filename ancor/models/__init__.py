"""Backbones, heads, and the encoder that joins them."""
