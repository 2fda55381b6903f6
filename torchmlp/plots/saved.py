"""Figures as files."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from torchmlp.plots.svg import settings

DPI = 150


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write the figure as PNG and SVG; the files.

    Raises:
        OSError: a folder that cannot be written.
    """
    paths = [folder / f"{stem}.{kind}" for kind in ("png", "svg")]
    with settings(), mpl.rc_context({"svg.hashsalt": stem}):
        for path in paths:
            # Without a date the same map is the same file.
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=DPI, facecolor="#ffffff", metadata=metadata)
    return paths
