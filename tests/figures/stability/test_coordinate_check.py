"""The figure of the coordinate check."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from torchmlp.figures.stability.coordinate_check import coordinates_figure
from torchmlp.stability.coordinate_check import Coordinates

WIDTHS = [64, 128, 256, 512, 1024]


def check(power: float, parametrization: str = "mup", steps: int = 5) -> Coordinates:
    """Two layers, whose change is step · (width / 64)^power and twice that."""
    changes = [
        [[factor * step * (width / 64) ** power for width in WIDTHS] for factor in (1, 2)]
        for step in range(steps + 1)
    ]
    return Coordinates(parametrization, "sgd", 0.1, WIDTHS, changes, changes)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_it_draws_the_changes() -> None:
    """A panel for each layer and check with the lines of three steps, over shared axes, and the
    power of the last step."""
    figure = coordinates_figure([check(1.0, "standard"), check(0.0)])
    assert len(figure.axes) == 4
    for k, axes in enumerate(figure.axes):
        layer, power = k // 2, 1.0 - k % 2
        lines = {str(line.get_label()): line for line in axes.lines}
        for step in (1, 3, 5):
            line = lines[f"step {step}"]
            expected = [(layer + 1) * step * (width / 64) ** power for width in WIDTHS]
            np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), expected)
            assert list(np.asarray(line.get_xdata())) == WIDTHS
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_ylim() == figure.axes[k - k % 2].get_ylim()
    said = words(figure)
    assert said.count("width^1.00") == said.count("width^0.00") == 2
    assert "standard, sgd 0.1" in said
    assert "mup, sgd 0.1" in said


def test_unmoved_layers_and_broken_runs() -> None:
    """The first step drawn is one that has changed all layers; what is not finite is a cross."""
    found = check(0.5)
    changes = [[list(row) for row in layers] for layers in found.changes]
    changes[1][0] = [0.0] * len(WIDTHS)
    changes[5][1][4] = math.nan
    figure = coordinates_figure([replace(found, changes=changes)])
    labels = {str(line.get_label()) for line in figure.axes[0].lines}
    assert {"step 2", "step 3", "step 5"} <= labels
    (cross,) = (line for line in figure.axes[1].lines if line.get_label() == "_broke 5")
    assert list(np.asarray(cross.get_xdata())) == [1024]
    assert "width^nan" in words(figure)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_nothing_to_draw(value: float) -> None:
    """Runs of which nothing changed, or nothing is left."""
    changes = [[[value] * 5] * 2] * 2
    coordinates_figure([replace(check(0.0), changes=changes)])


def test_it_can_be_saved() -> None:
    """As PNG and as SVG."""
    figure = coordinates_figure([check(1.0, "standard"), check(0.0)])
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        file = io.BytesIO()
        figure.savefig(file, format=kind)
        assert file.getvalue().startswith(start)


def test_refusals() -> None:
    """Checks that cannot stand side by side."""
    with pytest.raises(ValueError, match=r"got 4 steps of 2 layers, 5 steps of 2 layers"):
        coordinates_figure([check(0.0, steps=4), check(0.0)])
    with pytest.raises(ValueError, match="got none"):
        coordinates_figure([])
