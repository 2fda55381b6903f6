"""Figures: a diagnosis as a page. The one floor with matplotlib."""

from torchmlp.plots.page import page

__all__ = ["page"]
