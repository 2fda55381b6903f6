"""The runs of cells of one shape as those of one population, where it trains what they train.

Only where its step is C++, which takes one network after the other: the last bits of torch's
batched products depend on how many networks there are, and a cell's must not.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.data.labels import encode_targets
from torchmlp.engine import unsupported_reason
from torchmlp.engine.population import Population
from torchmlp.engine.population.population import POPULATIONS_OPTIMIZERS, settings_of
from torchmlp.lightning.classifier import Classifier
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.single_run import Run, accuracy_of


def train_together(cells: Sequence[Cell], config: MapConfig, samples: MapData) -> list[Run] | None:
    """The runs of cells of equal width, depth and batch size; None where no population does it.

    Raises:
        ValueError: what `MapConfig.run` and `Population` raise.
    """
    module = config.module(cells[0])
    optimizer = config.run(cells[0], samples.epoch(cells[0], 1), module).optimizer
    if type(module) is not Classifier or not _is_for_a_population(module, optimizer):
        return None
    mlp, settings = module.mlp, optimizer.param_groups[0]
    population = Population(
        mlp.in_features,
        mlp.hidden,
        mlp.out_features,
        size=len(cells),
        activation=mlp.activations[0],
        loss=module.loss,
        lr=[cell.lr for cell in cells],
        dtype=mlp.weights[0].dtype,
        parametrization=mlp.parametrization,
        base_width=mlp.base_width,
        optimizer=type(optimizer).__name__.lower(),
        settings={name: settings[name] for name in settings_of(type(optimizer))},
    )
    for i, cell in enumerate(cells):
        population.load(i, config.module(cell).mlp)
    steps = list(_losses(population, cells, config, samples))
    if not steps:
        return None
    losses = torch.stack(steps, 1)
    runs = []
    for i, own in enumerate(losses):
        count = int(own.isfinite().sum()) + 1  # of a frozen network all that follow are not
        if count <= len(own):
            runs.append(Run(own[:count].tolist(), None))
            continue
        module.mlp = population.network(i)
        runs.append(Run(own.tolist(), accuracy_of(module, samples)))
    return runs


def _is_for_a_population(module: Classifier, optimizer: Optimizer) -> bool:
    mlp, settings = module.mlp, optimizer.param_groups[0]
    return (
        type(optimizer) in POPULATIONS_OPTIMIZERS
        and not (settings.get("dampening") or settings["maximize"])
        and not unsupported_reason(mlp, module.loss, optimizer)
        and mlp.activations[-1] == "identity"
        and all(bias is not None for bias in mlp.biases)
    )


def _losses(
    population: Population, cells: Sequence[Cell], config: MapConfig, samples: MapData
) -> Iterator[Tensor]:
    """Of every step all networks' losses, (cells,), until none is finite; none if not in C++."""
    like = population.biases[-1]
    streams = {cell.seed: samples.batches(cell, config.steps) for cell in cells}
    for batches in zip(*streams.values(), strict=True):
        x, labels = batches[0]
        if len(streams) > 1:
            by_seed = dict(zip(streams, batches, strict=True))
            own = [by_seed[cell.seed] for cell in cells]
            x, labels = (torch.stack(part) for part in zip(*own, strict=True))
        target = encode_targets(labels, population.loss, like.shape[1], like.dtype)
        losses = population.step(x.flatten(labels.ndim), target)
        if not population.is_native:
            return
        yield losses
        if bool(population.frozen.all()):
            return
