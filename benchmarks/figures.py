"""The figures of step.py and scaling.py, from their tables. The one file here with matplotlib."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from timing import read

# Those of this package in warm colours, the others' in cold and grey ones. Size, marker, colour.
STYLES = {
    "engine (C++)": (75, "D", "#d62728"),
    "engine (torch)": (50, "D", "#ff9f4a"),
    "nn.Sequential + fused SGD": (30, "o", "#1f4e9c"),
    "nn.Sequential + SGD": (30, "o", "#7aa6dc"),
    "nn.Sequential + fused Adam": (30, "o", "#1f4e9c"),
    "nn.Sequential + foreach Adam": (30, "v", "#7aa6dc"),
    "nn.Sequential + Adam": (30, "o", "#7aa6dc"),
    "torch.compile(whole step)": (34, "^", "#187a4b"),
    "torch.compile(model) + fused SGD": (34, "^", "#79c79b"),
    "jax.jit(whole step)": (34, "s", "#7b3fa0"),
    "numpy": (34, "s", "#9a9a9a"),
    "scikit-learn partial_fit": (34, "s", "#303030"),
}
RANGE_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500]


def draw_steps(table: Path, picture: Path, optimizer: str) -> None:
    """Multiples of the floor, a line for each network, a panel for each count of threads."""
    rows = [row for row in read(table) if row.get("optimizer", "sgd") == optimizer]
    pyplot = _pyplot()
    counts = sorted({int(row["threads"]) for row in rows})
    names = list(dict.fromkeys((row["network"], int(row["batch"])) for row in rows))
    figure, panels = pyplot.subplots(
        1,
        len(counts),
        figsize=(1 + 4.7 * len(counts), 1.9 + 0.32 * len(names)),
        sharey=True,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    places = {name: -k for k, name in enumerate(names)}
    for panel, threads in zip(panels[0], counts, strict=True):
        for k in range(0, len(names), 2):
            panel.axhspan(-k - 0.5, -k + 0.5, color="#f3f3f3", zorder=0)
        panel.axvline(1, color="#444444", linewidth=1)
        # The engine last: over the others.
        for name, (size, marker, colour) in reversed(STYLES.items()):
            chosen = [
                row for row in rows if row["provider"] == name and int(row["threads"]) == threads
            ]
            y = [places[row["network"], int(row["batch"])] for row in chosen]
            x = [float(row["ratio_median"]) for row in chosen]
            low = [float(row["ratio_p25"]) for row in chosen]
            high = [float(row["ratio_p75"]) for row in chosen]
            panel.hlines(y, low, high, color=colour, linewidth=1.2, alpha=0.7)
            if chosen:
                panel.scatter(x, y, size, color=colour, marker=marker, label=name, zorder=3)
        _multiples(panel, "x")
        floor = "the matrix products" + (" and Adam's sweep" if optimizer == "adam" else " alone")
        panel.set_xlabel(f"multiples of {floor} (log)")
        panel.set_title(_threads(threads), fontsize=11)
        panel.set_ylim(-len(names) + 0.5, 0.5)
    panels[0][0].set_yticks(list(places.values()), [f"{name}  B {b}" for name, b in names])
    told = [panel.get_legend_handles_labels() for panel in panels[0]]
    handles, labels = max(told, key=lambda both: len(both[1]))  # a panel may lack some
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3, fontsize=9)
    what = f"One training step, {'Adam' if optimizer == 'adam' else 'SGD'}"
    figure.suptitle(f"{what}, on {_machine(rows)}, torch {rows[-1]['torch']}", fontsize=12)
    figure.savefig(picture, dpi=150)


def draw_scaling(table: Path, picture: Path, optimizer: str) -> None:
    """Four panels: width, depth, batch, images; dashed lines are of more threads."""
    rows = [row for row in read(table) if row.get("optimizer", "sgd") == optimizer]
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")

    def hidden(row: dict[str, str]) -> tuple[int, int]:
        width, _, depth = row["network"].split("-")[1].partition("x")
        return int(width), int(depth or 1)

    axes: list[tuple[str, str, Callable[[dict[str, str]], int]]] = [
        ("width", "width of two hidden layers (B 128)", lambda row: hidden(row)[0]),
        ("depth", "hidden layers of 64 (B 32)", lambda row: hidden(row)[1]),
        ("batch", "batch (784-256-10)", lambda row: int(row["batch"])),
        ("data", "images (784-256-10, B 128)", lambda row: int(row["network"].split()[1])),
    ]
    for panel, (axis, label, place) in zip(panels.flat, axes, strict=True):
        for name, (_, marker, colour) in STYLES.items():
            for threads in sorted({int(row["threads"]) for row in rows}):
                key = (axis, name, str(threads))
                chosen = [r for r in rows if (r["benchmark"], r["provider"], r["threads"]) == key]
                if not chosen:
                    continue
                chosen.sort(key=place)
                speed = [1e6 / float(row["median_us"]) for row in chosen]
                ratio = [float(row["ratio_median"]) for row in chosen]
                panel.plot(
                    [place(row) for row in chosen],
                    speed if axis == "data" else ratio,
                    "-" if threads == 1 else "--",
                    marker=marker,
                    markersize=4,
                    color=colour,
                    label=f"{name}, {_threads(threads)}",
                )
        panel.set_xscale("log", base=10 if axis == "data" else 2)
        if axis != "data":
            panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(label)
        if axis == "data":
            panel.set_yscale("log")
            panel.set_ylabel("images per second")
        else:
            _multiples(panel, "y")
            panel.axhline(1, color="#444444", linewidth=1)
            panel.set_ylabel("multiples of the floor")
        panel.grid(visible=True, which="both", color="#e6e6e6", linewidth=0.6)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(f"Training steps on {_machine(rows)}, torch {rows[-1]['torch']}", fontsize=12)
    figure.savefig(picture, dpi=150)


def _pyplot() -> Any:
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    return import_module("matplotlib.pyplot")


def _multiples(panel: Any, which: str) -> None:
    """A log axis with 1, 2, 5, 10, ... written out."""
    ticker = import_module("matplotlib.ticker")
    getattr(panel, f"set_{which}scale")("log")
    axis = getattr(panel, f"{which}axis")
    axis.set_major_locator(ticker.FixedLocator(RANGE_TICKS))
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_locator(ticker.NullLocator())


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _machine(rows: Sequence[dict[str, str]]) -> str:
    """Say, "AMD EPYC 9004 (2 cores)"; several where the rows are of several."""
    found = {f"{row['cpu'].replace('(R)', '')} ({row['cores']} cores)" for row in rows}
    return ", ".join(sorted(found))
