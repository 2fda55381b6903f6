"""Runs that teach something. None of this is meant to be built upon."""
