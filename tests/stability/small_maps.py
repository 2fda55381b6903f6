"""Data and recipes of small maps."""

from dataclasses import replace
from functools import cache
from typing import Any

from torchmlp.data.images.embedded import read_embedded
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData

CLASSIFIER = "torchmlp.Classifier"


@cache
def digits() -> MapData:
    """The digits that ship with the package."""
    images = read_embedded()
    return MapData.of(
        images.train_images, images.train_labels, images.test_images, images.test_labels
    )


def easy() -> MapData:
    """The same, of which so little can be learned that a few steps learn it."""
    return replace(digits(), reachable=0.2)


def map_config(
    model: str = CLASSIFIER,
    optimizer: str = "SGD",
    *,
    steps: int = 30,
    dtype: str = "float32",
    settings: dict[str, Any] | None = None,
    **args: Any,
) -> MapConfig:
    """A recipe: a model's name, here or in full, with its arguments, and an optimizer of torch's
    with its settings."""
    name = model if "." in model else f"tests.stability.models.{model}"
    sgd = {"class_path": f"torch.optim.{optimizer}", "init_args": {"lr": 0.1, **(settings or {})}}
    return MapConfig({"class_path": name, "init_args": args}, sgd, dtype, steps)


def cell(**settings: Any) -> Cell:
    """A cell, small where nothing else is said."""
    return Cell(
        **{
            "width": 8,
            "depth": 1,
            "batch_size": 16,
            "lr": 0.1,
            "init": "auto",
            "seed": 0,
            **settings,
        }
    )


def timeless(results: list[CellResult]) -> list[dict[str, Any]]:
    """What came of cells, without the time it took, in the cells' order."""
    rows = sorted(results, key=lambda result: result.cell)
    return [{k: v for k, v in row.to_json().items() if k != "seconds"} for row in rows]
