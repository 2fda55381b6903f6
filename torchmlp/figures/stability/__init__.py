"""Figures of the map, of the learning-rate finder and of the coordinate check."""
