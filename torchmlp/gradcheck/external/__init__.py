"""Gradients computed by external code: arrays, files, functions."""
