"""Somebody's functions called by what their parameters are named, and their results read."""
