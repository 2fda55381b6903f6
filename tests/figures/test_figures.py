"""The figures hold the record's numbers, whatever those are."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from tests.figures.records import (
    bell,
    broken_run,
    deep_run,
    falling,
    healthy_run,
    layer,
    sigmoid_run,
)
from torchmlp.diagnosis.record.record import Design, LayerSample, Record, Sample, Trial
from torchmlp.figures.diagnosis.gradient_flow import flow_figure
from torchmlp.figures.diagnosis.histograms import has_histogram, share_in_range, z_figure
from torchmlp.figures.diagnosis.layer_rows import (
    ROWS,
    layer_label,
    saturated_figure,
    variation_figure,
    z_std_figure,
)
from torchmlp.figures.diagnosis.loss import POINTS, binned, loss_figure, loss_series, unlike
from torchmlp.figures.style.axes import Scale, broken, drawable
from torchmlp.figures.style.theme import FONT, WIDTH

FIGURES = {
    "loss": loss_figure,
    "flow": flow_figure,
    "z": z_figure,
    "z_std": z_std_figure,
    "saturated": saturated_figure,
    "between_sample_variance": variation_figure,
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def drawn(figure: Figure | None) -> Figure:
    """The figure, which is there."""
    assert figure is not None
    return figure


def lines(figure: Figure, *, marks: bool = False) -> dict[str, Line2D]:
    """The lines that hold data, by label; or those that hold marks."""
    found = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    return {name: line for name, line in found.items() if name.startswith("_") is marks}


def data(line: Line2D) -> tuple[list[float], list[float]]:
    """What a line holds."""
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    return x.tolist(), y.tolist()


def words(figure: Figure) -> list[str]:
    """All that is written outside of the axes."""
    return [text.get_text() for text in figure.texts]


def record_of(*samples: list[LayerSample]) -> Record:
    """A record with nothing but these layers at the steps 0, 10, 20, ..."""
    return Record(Design(), samples=[Sample(10 * k, found) for k, found in enumerate(samples)])


@every_figure
def test_no_figure_without_numbers(draw: Callable[[Record], Figure | None]) -> None:
    """Nothing measured, nothing drawn."""
    assert draw(Record(Design())) is None
    assert draw(record_of([], [LayerSample()])) is None
    unknown = LayerSample(
        z_std=math.nan, between_sample_variance=math.nan, saturated=math.inf, delta_rms=math.inf
    )
    record = record_of([unknown])
    record.losses = [math.nan, math.inf]
    record.trials = [Trial("untouched", [], 1, [], math.nan)]
    assert draw(record) is None


def test_loss_lines_hold_the_losses() -> None:
    """A short run is drawn step by step, under its name, and each remedy that helped beside it."""
    losses, helped = falling(2.0, 1.0, POINTS), falling(2.0, 0.1, 30)
    record = Record(Design(), losses=losses)
    record.trials = [
        Trial("untouched", [], POINTS, losses, 0.2),
        Trial("rate 1", ["learning-rate-too-low"], 30, helped, 0.9),
        Trial("rate 9", ["learning-rate-too-low"], 30, falling(2.0, 3.0, 30), 0.1),
    ]
    found = lines(drawn(loss_figure(record)))
    for name, wanted in (("untouched", losses), ("rate 1", helped)):
        steps, values = data(found[name])
        assert steps == [*range(len(wanted))]
        assert values == pytest.approx(wanted)
    assert set(found) == {"untouched", "rate 1"}
    assert found["untouched"].get_linestyle() != found["rate 1"].get_linestyle()


def test_long_runs_are_means_of_bins() -> None:
    """The first loss is drawn as it is; the bins' means have the mean of all the others."""
    losses = falling(2.0, 0.5, 1000)
    steps, mean, low, high = binned(drawable(losses))
    assert len(mean) <= POINTS + 1
    assert (steps[0], mean[0], low[0], high[0]) == (0, losses[0], losses[0], losses[0])
    size = 17
    assert mean[1] == pytest.approx(sum(losses[1 : 1 + size]) / size)
    assert steps[1] == pytest.approx(1 + (size - 1) / 2)
    assert (low[1:] < mean[1:]).all()
    assert (mean[1:] < high[1:]).all()
    assert low.min() == min(losses)


def test_untouched_run_is_the_longer_of_both() -> None:
    """The trial named untouched is the run itself at the trials' length."""
    record = healthy_run().record
    record.trials = [Trial("untouched", [], 50, record.losses[:50], 0.98)]
    assert [len(series.losses) for series in loss_series(record)] == [500]
    record.losses = []
    assert [len(series.losses) for series in loss_series(record)] == [50]


def test_broken_run_ends_in_a_cross() -> None:
    """The cross is at the step that broke, as high as the last loss before it."""
    figure = drawn(loss_figure(broken_run().record))
    cross = lines(figure, marks=True)["_broke untouched"]
    assert data(cross) == ([3], [4.4e14])
    assert cross.get_marker() == "x"
    assert any("non-finite at step 3" in text for text in words(figure))
    assert figure.axes[0].get_yscale() == "log"


def test_loss_that_breaks_at_once_has_its_cross() -> None:
    """Where nothing stands before it, the cross is as high as what comes after."""
    record = Record(Design(), losses=[math.inf, 3.0, 2.0])
    figure = drawn(loss_figure(record))
    assert data(lines(figure, marks=True)["_broke untouched"]) == ([0], [3.0])
    assert data(lines(figure)["untouched"])[1][1:] == [3.0, 2.0]


def test_loss_axis_is_linear_below_zero() -> None:
    """A loss that is not positive has no logarithm."""
    figure = drawn(loss_figure(Record(Design(), losses=[1.0, 0.0, -2.0])))
    assert figure.axes[0].get_yscale() == "linear"
    low, high = figure.axes[0].get_ylim()
    assert low < -2 < 1 < high


def test_equal_trials_are_one() -> None:
    """The same run under another cause's name is left out, with nan in it too."""
    one = Trial("a", ["saturation"], 2, [1.0, math.nan], math.nan)
    same = Trial("b", ["dead-units"], 2, [1.0, math.nan], math.nan)
    other = Trial("c", ["dead-units"], 2, [1.0, 2.0], math.nan)
    assert [trial.name for trial in unlike([one, same, other])] == ["a", "c"]


def test_best_remedy_is_drawn_first() -> None:
    """The order that is asked for is the order of the lines."""
    report = sigmoid_run()
    chosen = report.remedies[2]
    shown = loss_series(report.record, [chosen, *report.remedies])
    assert [series.name for series in shown[:2]] == ["untouched", chosen.name]


@pytest.mark.parametrize(
    ("draw", "quantity"),
    [
        (z_std_figure, "z_std"),
        (saturated_figure, "saturated"),
        (variation_figure, "between_sample_variance"),
    ],
    ids=["z_std", "saturated", "between_sample_variance"],
)
def test_rows_hold_the_samples(draw: Callable[[Record], Figure | None], quantity: str) -> None:
    """A row for each layer, with its value at every sampled step; none where it has none."""
    record = sigmoid_run().record
    found = lines(drawn(draw(record)))
    assert list(found) == [f"layer {k}" for k in range(1, 6)]
    for k, line in enumerate(found.values()):
        steps, values = data(line)
        assert steps == [sample.step for sample in record.samples]
        wanted = [getattr(sample.layers[k], quantity) for sample in record.samples]
        wanted = [math.nan if value is None else value for value in wanted]
        assert values == pytest.approx(wanted, nan_ok=True)


def test_rows_say_first_and_last() -> None:
    """The numbers at both ends of a row are text."""
    record = record_of([LayerSample(saturated=0.25)], [LayerSample(saturated=0.75)])
    assert {"0.25", "0.75", "step 0", "10"} <= set(words(drawn(saturated_figure(record))))


def test_rows_of_uneven_samples() -> None:
    """A layer that some samples lack is a gap in its row."""
    record = record_of([LayerSample(saturated=0.1)], [LayerSample(), LayerSample(saturated=0.2)])
    found = lines(drawn(saturated_figure(record)))
    assert data(found["layer 1"])[1] == pytest.approx([0.1, math.nan], nan_ok=True)
    assert data(found["layer 2"])[1] == pytest.approx([math.nan, 0.2], nan_ok=True)


def test_rows_mark_what_is_not_finite() -> None:
    """A nan is a cross in its row; a value that was not taken is none."""
    record = record_of(
        [LayerSample(between_sample_variance=0.1)],
        [LayerSample(between_sample_variance=math.nan)],
        [LayerSample()],
    )
    marks = lines(drawn(variation_figure(record)), marks=True)
    assert data(marks["_broke layer 1"])[0] == [10]


def test_small_shares_get_a_logarithmic_scale() -> None:
    """Shares that only a logarithm tells apart have one; a zero stands at its foot."""
    record = record_of([LayerSample(between_sample_variance=v) for v in (0.5, 1e-9, 0.0)])
    figure = drawn(variation_figure(record))
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    low = figure.axes[2].get_ylim()[0]
    assert data(lines(figure)["layer 3"])[1] == [low]
    assert any("log" in text for text in words(figure))


def steps_of(axes: Axes) -> StepPatch:
    """The histogram of a row."""
    (found,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    return found


def test_histograms_hold_counts_and_range() -> None:
    """Each row has its layer's counts and edges, over its shaded range."""
    record = sigmoid_run().record
    figure = drawn(z_figure(record))
    assert len(figure.axes) == len(record.layers)
    for axes, wanted in zip(figure.axes, record.layers, strict=True):
        counts, edges, _ = steps_of(axes).get_data()
        assert counts.tolist() == wanted.z_counts
        assert edges.tolist() == wanted.z_edges
        shaded = [patch for patch in axes.patches if patch.get_label() == "linear range"]
        if wanted.linear_range is None:
            assert shaded == []
        else:
            box = shaded[0].get_window_extent().transformed(axes.transData.inverted())
            assert [box.x0, box.x1] == pytest.approx(wanted.linear_range)


def test_share_in_range() -> None:
    """The share of z where φ is steep, a bin that is cut counting by its part."""
    found = layer(1, "sigmoid", 4.0, steep=2.0)
    found.z_counts, found.z_edges = [1, 1, 1, 1], [-4.0, -2.0, 0.0, 2.0, 4.0]
    assert share_in_range(found) == 0.5
    found.linear_range = [-1.0, 3.0]
    assert share_in_range(found) == 0.5
    found.linear_range = [0.0, 0.0]
    assert share_in_range(found) == 0.0
    found.linear_range = None
    assert share_in_range(found) == 0.0
    found.activation = "identity"
    assert share_in_range(found) is None


@pytest.mark.parametrize(
    ("counts", "edges"),
    [
        ([], []),
        ([1], [0.0]),
        ([1, 2], [0.0, 1.0]),
        ([0, 0], [0.0, 1.0, 2.0]),
        ([1, 2], [0.0, math.nan, 2.0]),
        ([1, 2], [-math.inf, 0.0, 1.0]),
        ([1, 2], [1.0, 1.0, 1.0]),
        ([1, 2], [2.0, 1.0, 0.0]),
        ([1, 2], [1e10, 1e10, 1e10 + 1e-6]),
        ([1, 2], [0.0, 1e-310, 2e-310]),
        ([1, 2], [-1e300, 0.0, 1e300]),
        ([-1, 2], [0.0, 1.0, 2.0]),
    ],
    ids=str,
)
def test_histograms_that_cannot_be_drawn(counts: list[int], edges: list[float]) -> None:
    """Its row says so, and the other layers are drawn."""
    record = Record(Design(), layers=[layer(1, "tanh", 1.0), layer(2, "tanh", 1.0)])
    record.layers[0].z_counts, record.layers[0].z_edges = counts, edges
    assert not has_histogram(record.layers[0])
    assert share_in_range(record.layers[0]) is None
    assert len(drawn(z_figure(record)).axes) == 1


def test_flow_holds_first_middle_and_last() -> None:
    """The deltas of three samples, by layer, on a logarithmic axis, no two lines alike."""
    record = sigmoid_run().record
    figure = drawn(flow_figure(record))
    found = lines(figure)
    assert list(found) == ["step 0", "step 40", "step 199"]
    for sample in record.samples:
        if f"step {sample.step}" in found:
            layers, deltas = data(found[f"step {sample.step}"])
            assert layers == [1, 2, 3, 4, 5]
            assert deltas == [one.delta_rms for one in sample.layers]
    assert figure.axes[0].get_yscale() == "log"
    assert len({line.get_marker() for line in found.values()}) == 3


def test_flow_marks_zeros_and_the_broken() -> None:
    """A delta of 0 is a hollow mark on the axis, a nan a cross at the top."""
    record = record_of([LayerSample(delta_rms=v) for v in (0.0, 1e-3, 1.0, math.nan)])
    figure = drawn(flow_figure(record))
    low, high = figure.axes[0].get_ylim()
    marks = lines(figure, marks=True)
    assert data(marks["_zero 0"]) == ([1], [low])
    assert data(marks["_broke 0"]) == ([4], [high])
    assert marks["_broke 0"].get_marker() == "x"


def test_flow_of_zeros_alone() -> None:
    """Where no gradient reaches any layer the axis is linear, and the line lies at 0."""
    figure = drawn(flow_figure(record_of([LayerSample(delta_rms=0.0)] * 3)))
    assert figure.axes[0].get_yscale() == "linear"
    assert data(lines(figure)["step 0"])[1] == [0, 0, 0]


@every_figure
@pytest.mark.parametrize("depth", [1, 2, 20, 30, 100])
def test_many_layers_keep_apart(draw: Callable[[Record], Figure | None], depth: int) -> None:
    """Rows are no lower than their text, and of very many the first and last are shown."""
    figure = drawn(draw(deep_run(depth).record)) if depth > 1 else draw(deep_run(depth).record)
    if figure is None:
        return
    assert figure.get_figwidth() * 72 == pytest.approx(WIDTH)
    heights = sorted(
        {round(text.get_position()[1] * figure.get_figheight() * 72, 3) for text in figure.texts}
    )
    assert all(b - a >= 0.9 * FONT for a, b in pairwise(heights))
    assert len(figure.axes) <= ROWS
    if depth > ROWS and len(figure.axes) > 1:
        assert any("layers left out" in text for text in words(figure))


def test_layer_labels() -> None:
    """A number, with the name where it tells anything, else with the function."""
    record = Record(Design(), layers=[layer(1, "relu", 1.0, name="net.fc1")])
    record.layers += [layer(2, "relu", 1.0, name="3"), layer(3, "identity", 1.0, name="5")]
    record.layers += [layer(4, "relu", 1.0, name="encoder.blocks.11.fc1")]
    assert [layer_label(record, k) for k in range(5)] == [
        "1 net.fc1",
        "2 relu",
        "3 linear",
        "4 …cks.11.fc1",
        "5",
    ]


def test_drawable_and_broken() -> None:
    """What is missing is nan and not broken; what no axis can hold is both."""
    values = [1.0, None, math.nan, -math.inf, 1e31, 1e-40, -1e-40, 0.0]
    assert drawable(values).tolist() == pytest.approx(
        [1.0, *[math.nan] * 4, 1e-30, -1e-30, 0.0], nan_ok=True, abs=1e-45
    )
    assert broken(values).tolist() == [False, False, True, True, True, False, False, False]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [1.0],
        [-1e30, 1e30],
        [1e-30, 1e30],
        [2.3, 2.30001],
        [1e-30],
        [5.0, 5.0 + 1e-12],
        [-1.0, -1.0],
        [0.5, 700.0],
        [1e30 * (1 - 1e-16), 1e30],
    ],
    ids=str,
)
def test_scales_hold_their_values(values: list[float]) -> None:
    """The ends are apart and around the values; ticks lie between, told apart by their text."""
    for scale in (Scale.of(values), Scale.from_zero([abs(v) for v in values])):
        assert scale.low < scale.high
        ticks = scale.ticks()
        assert ticks == sorted(set(ticks))
        assert len(ticks) <= 10
        assert all(scale.low <= tick <= scale.high for tick in ticks)
        axes = Figure().add_subplot()
        scale.set_y(axes)
        texts = [text.get_text() for text in axes.get_yticklabels()]
        assert len(set(texts)) == len(texts)
    assert all(Scale.of(values).low <= value <= Scale.of(values).high for value in values)


def test_histogram_of_the_builder_is_one() -> None:
    """The reports made by hand hold histograms that can be drawn."""
    counts, edges = bell(-1.0, 2.0)
    assert len(edges) == len(counts) + 1
    assert all(has_histogram(found) for found in sigmoid_run().record.layers)
