"""Save figures as PNG and SVG."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from torchmlp._runtime.atomic_file import atomic_writer
from torchmlp.figures.style.rc import settings

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
            with atomic_writer(path) as file:
                kind = path.suffix[1:]
                figure.savefig(file, format=kind, dpi=DPI, facecolor="#ffffff", metadata=metadata)
    return paths
