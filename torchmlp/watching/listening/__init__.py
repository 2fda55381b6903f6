"""Hearing what a training loop does, where every loop must pass."""
