"""Training methods: what training asks of one, and the paper's."""
