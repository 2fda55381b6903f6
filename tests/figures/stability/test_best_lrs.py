"""The best learning rate against the width."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.stability.made import cell, result
from torchmlp.figures.save import save
from torchmlp.figures.stability.best_lrs import best_rate_figure, best_rates
from torchmlp.stability.map.cell import CellResult

WIDTHS = (64, 256, 1024)


def bowl(power: float) -> list[CellResult]:
    """Losses whose least is at the rate (width / 64)^power."""
    return [
        result(cell(width, 4.0**k), "learns", loss=abs(k - power * math.log(width / 64, 4)) + 0.1)
        for width in WIDTHS
        for k in range(-4, 5)
    ]


def test_best_rates_are_by_width() -> None:
    """Widths where nothing is finite are left out."""
    assert best_rates(bowl(-1)) == {64: 1.0, 256: 0.25, 1024: 0.0625}
    lost = [replace(r, loss=None) if r.cell.width == 256 else r for r in bowl(0)]
    assert best_rates(lost) == {64: 1.0, 1024: 1.0}


def test_each_map_is_a_line_and_the_reference_falls_as_one_over_width(tmp_path: Path) -> None:
    """From the first map's first point."""
    figure = best_rate_figure({"standard": bowl(-1), "mup": bowl(0)})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == ["standard", "mup", "as 1 / width"]
    assert np.array(lines["mup"].get_ydata()).tolist() == [1.0, 1.0, 1.0]
    reference = np.array(lines["as 1 / width"].get_xydata())
    np.testing.assert_allclose(reference[:, 0] * reference[:, 1], 64)
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    dashes = {str(line.get_linestyle()) + str(line.get_marker()) for line in lines.values()}
    assert len(dashes) == 3
    assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path, "best"))


def test_maps_without_a_line_are_told() -> None:
    """By their name; and none or too many."""
    with pytest.raises(ValueError, match="no cell of 'mup' ends with a finite loss"):
        best_rate_figure({"standard": bowl(0), "mup": [result(cell(), "nan")]})
    with pytest.raises(ValueError, match="expected 1 to 4 maps, got 0"):
        best_rate_figure({})
