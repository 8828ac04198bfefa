"""Whether this machine computes what it should, as fast as it can."""
