"""A few labels by hand, and what follows from them for all other pictures of a folder."""
