"""Colours, each in a light and a dark tone, and the sizes that the figures are drawn in."""

from types import MappingProxyType
from typing import Literal

# The figures are drawn in the light tones, all different, which tell `svg` the colour's name.
# Text has a contrast of 4.5 and more on the paper and the panel, lines of 3 (WCAG 2.2, 1.4.3 and
# 1.4.11; tested).
LIGHT = MappingProxyType(
    {
        "paper": "#fdfcfa",
        "panel": "#f4f2ee",
        "rule": "#dcd9d2",
        "ink": "#1f2328",
        "muted": "#5b626b",
        "blue": "#1f5da8",
        "green": "#1d6f42",
        "orange": "#a14a00",
        "purple": "#76389c",
        "red": "#b0261d",
        "shade": "#f0dfb4",
        "edge": "#8a6a1c",
    }
)
DARK = MappingProxyType(
    {
        "paper": "#16191d",
        "panel": "#1e2227",
        "rule": "#363c44",
        "ink": "#e7e6e2",
        "muted": "#a4abb4",
        "blue": "#7fb4f0",
        "green": "#74cf9c",
        "orange": "#f2a865",
        "purple": "#cd9df0",
        "red": "#ff8e83",
        "shade": "#4a3f22",
        "edge": "#cfae5e",
    }
)
NAMES = MappingProxyType({tone: name for name, tone in LIGHT.items()})

WIDTH = 420.0  # of a figure, in its own units: 358 CSS pixels on a telephone of 390
FONT = 13.5  # 11 CSS pixels there

# Colour, dash and width of a line: no two differ in colour alone.
Dash = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]
Style = tuple[str, Dash, float]
STYLES: tuple[Style, ...] = (
    ("ink", "-", 2.2),
    ("blue", "--", 2.0),
    ("green", "-.", 2.0),
    ("orange", ":", 2.4),
    ("purple", (0.0, (6.0, 2.0, 1.0, 2.0, 1.0, 2.0)), 2.0),
)
