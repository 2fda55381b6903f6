"""A diagnosis as one HTML page with figures."""

from torchmlp.html_report.page import page

__all__ = ["page"]
