"""Untrusted files read within bounds, and files written whole or not at all."""
