"""The largest stable learning rate: a sweep, then confirming runs."""
