"""Do pre-activations keep their size as layers widen? The coordinate check, as table and figures.

    python benchmarks/coordinates.py

Two hidden layers, logistic, Xavier, on the embedded digits: five steps at widths 64 to 2048, by SGD
and Adam, under the standard parametrization and under mup with base width 64, output weights from 0
and from the initialisation. The figures, one of each optimizer, are of those from 0.
"""

from dataclasses import dataclass
from pathlib import Path

from runs import machine, rewrite

from torchmlp.figures.stability.coordinate_check import coordinates_figure
from torchmlp.figures.style.theme import LIGHT
from torchmlp.stability.coordinate_check import Coordinates, coordinate_check

RESULTS = Path(__file__).parent / "results"
WIDTHS, STEPS, ACTIVATION = (64, 128, 256, 512, 1024, 2048), 5, "sigmoid"
DPI = 150


@dataclass(frozen=True)
class Row:
    """A layer at a width after so many steps; `growth` is the change's power of the width."""

    parametrization: str
    optimizer: str
    lr: float
    activation: str
    zero_output: bool
    step: int
    layer: int
    width: int
    mean_abs_z: float
    mean_abs_change: float
    growth: float | None
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def measure(optimizer: str, parametrization: str, *, zero_output: bool) -> Coordinates:
    """One check."""
    return coordinate_check(
        WIDTHS,
        parametrization=parametrization,
        optimizer=optimizer,
        activation=ACTIVATION,
        steps=STEPS,
        zero_output=zero_output,
    )


def rows_of(check: Coordinates, *, zero_output: bool) -> list[Row]:
    """A check as rows, by step, layer and width."""
    here = machine()
    return [
        Row(
            parametrization=check.parametrization,
            optimizer=check.optimizer,
            lr=check.lr,
            activation=ACTIVATION,
            zero_output=zero_output,
            step=step,
            layer=layer + 1,
            width=width,
            mean_abs_z=float(f"{size:.4g}"),
            mean_abs_change=float(f"{change:.4g}"),
            growth=round(check.growth[step - 1][layer], 3) if step else None,
            **here,
        )
        for step, (sizes, changes) in enumerate(zip(check.sizes, check.changes, strict=True))
        for layer in range(len(sizes))
        for width, size, change in zip(check.widths, sizes[layer], changes[layer], strict=True)
    ]


def main() -> None:
    """Measure, print the last step's growth by layer, write."""
    rows = []
    print(f"{'output from':<12}{'optimizer':<11}{'':<10}growth of the change by layer")
    for zero_output in (True, False):
        for optimizer in ("sgd", "adam"):
            checks = [measure(optimizer, p, zero_output=zero_output) for p in ("standard", "mup")]
            for check in checks:
                rows += rows_of(check, zero_output=zero_output)
                growth = "  ".join(f"{power:5.2f}" for power in check.growth[-1])
                start = "0" if zero_output else "init"
                print(f"{start:<12}{optimizer:<11}{check.parametrization:<10}{growth}", flush=True)
            if zero_output:
                name = "coordinates.png" if optimizer == "sgd" else "coordinates_adam.png"
                figure = coordinates_figure(checks)
                figure.savefig(RESULTS / name, dpi=DPI, facecolor=LIGHT["paper"])
    rewrite(RESULTS / "coordinates.csv", rows)


if __name__ == "__main__":
    main()
