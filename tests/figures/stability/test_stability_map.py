"""The map as a figure."""

import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tests.stability.made import RATES, cell, column, result
from torchmlp.figures.save import save
from torchmlp.figures.stability.stability_map import TONES, map_figure
from torchmlp.stability.map.cell import OUTCOMES, CellResult

RESULTS = [
    *column("slow learns learns stuck", 32),
    *column("learns learns learns diverged", 128),
    *column("learns learns nan nan", 512),
]


def cells(figure: Figure) -> dict[tuple[float, float], Rectangle]:
    """Rectangles by their lower left corner, rounded."""
    return {
        (round(p.get_x(), 6), round(p.get_y(), 9)): p
        for p in figure.axes[0].patches
        if isinstance(p, Rectangle)
    }


def at(figure: Figure, width: float, lr: float) -> Rectangle:
    """The rectangle around a point."""
    (found,) = (
        p
        for p in figure.axes[0].patches
        if isinstance(p, Rectangle)
        and p.get_x() < width < p.get_x() + p.get_width()
        and p.get_y() < lr < p.get_y() + p.get_height()
    )
    return found


def lines(figure: Figure) -> dict[str, Line2D]:
    return {str(line.get_label()).split(":")[0]: line for line in figure.axes[0].get_lines()}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_cell_has_its_outcomes_colour_and_letters() -> None:
    """Cells meet half way on logarithmic axes and cover the map."""
    figure = map_figure(RESULTS, 64)
    assert len(cells(figure)) == len(RESULTS)
    for r in RESULTS:
        box = at(figure, r.cell.width, r.cell.lr)
        assert box.get_facecolor()[:3] == to_rgb(TONES[r.outcome][0])
    assert at(figure, 32, 0.1).get_x() * math.sqrt(4) == pytest.approx(32)
    assert sorted(set(texts(figure))) == ["0.93", "diverged", "nan@12", "slow 0.41", "stuck"]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert "batch 64, 1 hidden layer, init auto" in figure.texts[0].get_text()


def test_no_two_outcomes_are_of_like_lightness() -> None:
    """A print in grey tells neighbours apart, and the letters are read on each (WCAG: 4.5)."""

    def luminance(tone: str) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(tone)]
        return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))

    assert set(TONES) == set(OUTCOMES)
    for tone, ink in TONES.values():
        low, high = sorted(map(luminance, (tone, ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    by_outcome = [luminance(TONES[name][0]) for name in OUTCOMES]
    for one, other in pairwise(by_outcome):
        low, high = sorted((one, other))
        assert (high + 0.05) / (low + 0.05) >= 1.3


def test_the_solid_line_runs_between_the_last_safe_rate_and_the_next() -> None:
    """A step for each width; at the map's edge where all or nothing trains."""
    of = [*RESULTS, *column("stuck stuck stuck nan", 2048), *column("learns " * 4, 8192)]
    figure = map_figure(of, 64)
    x, y = np.array(lines(figure)["largest stable rate"].get_data())
    levels = [
        math.sqrt(1 * 10), math.sqrt(1 * 10), math.sqrt(0.1 * 1),
        0.01 / math.sqrt(10), 10 * math.sqrt(10),
    ]  # fmt: skip
    np.testing.assert_allclose(y, np.repeat(levels, 2))
    np.testing.assert_allclose(x[1:-1:2], x[2::2])
    assert x[1] == pytest.approx(math.sqrt(32 * 128))


def test_the_dashed_line_is_the_theory_with_the_runs_momentum() -> None:
    """It goes through each width's rate, and is told apart by its dashes."""
    of = [replace(r, largest_rate=3.2 / r.cell.width) for r in RESULTS]
    figure = map_figure(of, 64, momentum=0.9)
    line = lines(figure)["2 / λmax at the start,\nwith momentum"]
    x, y = np.array(line.get_data())[:, 1:-1]
    np.testing.assert_allclose(x, [32.0, 128.0, 512.0])
    np.testing.assert_allclose(y, 1.9 * 3.2 / x)
    assert line.get_linestyle() == "--"
    assert "2 / λmax at the start" in lines(map_figure(of, 64))


@pytest.mark.parametrize(("factor", "where"), [(1e-6, "below"), (1e6, "above")])
def test_a_theory_that_lies_off_the_map_is_told(factor: float, where: str) -> None:
    """The map keeps its size."""
    of = [replace(r, largest_rate=factor) for r in RESULTS]
    figure = map_figure(of, 64)
    assert any(f"({where} the map)" in text for text in legend(figure))
    assert figure.axes[0].get_ylim() == map_figure(RESULTS, 64).axes[0].get_ylim()


def test_no_theory_is_no_line() -> None:
    """Where the curvature is not known."""
    figure = map_figure([replace(r, largest_rate=None) for r in RESULTS], 64)
    assert not any("λmax" in text for text in legend(figure))


@pytest.mark.parametrize(("width", "lr"), [(128, 0.1), (700, 0.3), (5000, 1e-5), (3, 200.0)])
def test_the_users_point_is_marked_wherever_it_is(width: int, lr: float) -> None:
    """Inside the axes, on the grid or off it."""
    figure = map_figure(RESULTS, 64, own=cell(width, lr))
    star = lines(figure)["yours"]
    assert (star.get_xdata(), star.get_ydata()) == ([width], [lr])
    for limits, value in (
        (figure.axes[0].get_xlim(), width),
        (figure.axes[0].get_ylim(), lr),
    ):
        assert limits[0] < value < limits[1]
    assert any(f"width {width:,}" in text for text in legend(figure))


def test_a_user_of_another_batch_is_not_marked() -> None:
    """The star would lie on a map that is not theirs."""
    for other in (cell(batch_size=8), cell(init="he"), cell(depth=3)):
        assert "yours" not in lines(map_figure(RESULTS, 64, own=other))


def test_cells_that_were_not_run_are_hatched() -> None:
    """An interrupted map shows what is missing."""
    figure = map_figure(RESULTS[:-2], 64)
    assert len(cells(figure)) == len(RESULTS)
    assert at(figure, 512, 10.0).get_hatch()
    assert not at(figure, 512, 0.1).get_hatch()
    assert "not run" in legend(figure)
    assert "not run" not in legend(map_figure(RESULTS, 64))


@pytest.mark.parametrize(
    "of",
    [
        RESULTS[:4],
        [r for r in RESULTS if r.cell.lr == 0.1],
        RESULTS[:1],
        column("nan nan nan"),
    ],
    ids=["one width", "one rate", "one cell", "only nan"],
)
def test_small_maps_are_drawn(of: list[CellResult], tmp_path: Path) -> None:
    """Without a warning, which would be an error here."""
    figure = map_figure(of, 64, own=cell(512, 0.1))
    assert len(cells(figure)) == len(of)
    assert len(save(figure, tmp_path, "map")) == 2


def test_a_map_of_twenty_widths_and_thirty_rates_stays_inside_its_cells(tmp_path: Path) -> None:
    """Letters shrink to the fewest, and none is wider than its cell or higher."""
    of = [
        result(cell(round(16 * 1.3**w), 1e-3 * 1.4**k), OUTCOMES[(w + k) % 5])
        for w in range(20)
        for k in range(30)
    ]
    figure = map_figure(of, 64)
    save(figure, tmp_path, "map")
    axes = figure.axes[0]
    boxes = list(cells(figure).values())
    assert len(axes.texts) == len(boxes) == 600
    for text in axes.texts:
        inside = axes.transData.inverted().transform(text.get_window_extent())
        middle = np.sqrt(inside[0] * inside[1])
        box = at(figure, *middle)
        assert inside[0, 0] >= box.get_x() * 0.999
        assert inside[1, 0] <= (box.get_x() + box.get_width()) * 1.001
    ticks = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(ticks))


def test_seeds_are_folded_by_the_worst() -> None:
    """One rectangle for all of them."""
    of = column("learns learns") + column("learns nan", seed=1)
    figure = map_figure(of, 64)
    assert len(cells(figure)) == 2
    assert "nan@12" in texts(figure)


def test_several_depths_or_inits_have_to_be_chosen_from() -> None:
    """One figure is of one of each."""
    of = [*RESULTS, *column("nan", depth=2), *column("nan", init="he")]
    with pytest.raises(ValueError, match=r"3 kinds, .*choose by depth= and init="):
        map_figure(of, 64)
    assert len(cells(map_figure(of, 64, depth=1, init="auto"))) == len(RESULTS)
    assert "2 hidden layers" in map_figure(of, 64, depth=2).texts[0].get_text()
    with pytest.raises(ValueError, match="with batch_size=8, got none"):
        map_figure(of, 8)


def test_png_and_svg_are_written_the_same_each_time(tmp_path: Path) -> None:
    """A PNG of 150 dots an inch; an SVG whose words are text."""
    png, svg = save(map_figure(RESULTS, 64, own=cell()), tmp_path, "map-batch64")
    assert (png.name, svg.name) == ("map-batch64.png", "map-batch64.svg")
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert int.from_bytes(png.read_bytes()[16:20]) == 1260
    text = svg.read_text()
    assert re.search(r"<text[^>]*>diverged</text>", text)
    assert len(text) < 100_000
    first = png.read_bytes(), svg.read_bytes()
    save(map_figure(RESULTS, 64, own=cell()), tmp_path, "map-batch64")
    assert (png.read_bytes(), svg.read_bytes()) == first
    assert len({r.cell.lr for r in RESULTS}) == len(RATES)
