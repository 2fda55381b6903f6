"""Measurements: data, layers, output, sharpness, before and during training."""
