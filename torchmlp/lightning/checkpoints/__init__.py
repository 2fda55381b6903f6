"""Checkpoints: which are kept, how they are written and found, what a resumed run needs."""
