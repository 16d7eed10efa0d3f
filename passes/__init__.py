"""passes: a level to the same level (see README.md)."""
