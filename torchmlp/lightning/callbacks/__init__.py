"""Callbacks of a run: stopping, progress, non-finite losses."""
