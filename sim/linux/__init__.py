"""A real Linux above the card: its kernel, its root, its scripts, its session."""
