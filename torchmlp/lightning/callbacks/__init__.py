"""Callbacks of a run: checkpoints, stopping, resuming, progress, non-finite losses."""
