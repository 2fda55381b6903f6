"""Matplotlib's settings while a figure is made or written."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib import style


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults, with text left as text, for as long as this is entered."""
    with style.context("default"), mpl.rc_context({"svg.fonttype": "none"}):
        yield
