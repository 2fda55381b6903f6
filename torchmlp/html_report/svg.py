"""A matplotlib figure as an SVG element inside an HTML page, in the page's colours and font."""

import io
import re
import warnings
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from torchmlp.figures.style.rc import settings
from torchmlp.figures.style.text import html
from torchmlp.figures.style.theme import NAMES

_DATES = {"Date": None, "Creator": None, "Format": None, "Type": None}
_COLOUR = re.compile("#[0-9a-f]{6}")
_TARGET = re.compile(r"url\(#([^)]+)\)")


def inline(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element that HTML can hold beside others.

    Args:
        figure: in the light tones of the theme, which become the page's CSS variables.
        name: what its identifiers begin with, for no two elements of a page may share one.
        description: read out in its place.
    """
    written = io.StringIO()
    with settings(), mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser has other fonts than the one the text is measured with.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(written, format="svg", facecolor="none", metadata=_DATES)
    # Matplotlib wrote it a line above.
    root = ET.fromstring(written.getvalue().encode())  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style", "}title")):
                parent.remove(child)
    elements = list(root.iter())
    targets = {m for e in elements for value in e.attrib.values() for m in _targets(value)}
    for element in elements:
        # HTML knows svg without its namespace.
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _own(value, name)
            for key, value in element.attrib.items()
            if key != "id" or value in targets
        }
        if "id" in element.attrib:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
        "role": "img",
    }
    text = ET.tostring(root, encoding="unicode")
    return text.replace("<svg ", f'<svg aria-label="{html(description)}" ', 1)


def _targets(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else _TARGET.findall(value)


def _own(value: str, name: str) -> str:
    """An attribute in the page's colours and font, its references to this figure's elements."""
    value = _COLOUR.sub(
        lambda m: f"var(--{NAMES[m.group()]})" if m.group() in NAMES else m.group(), value
    )
    if value.startswith("#") and not _COLOUR.fullmatch(value):
        return f"#{name}-{value[1:]}"
    return _TARGET.sub(rf"url(#{name}-\1)", value)
