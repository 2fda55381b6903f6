import math
import os
import subprocess
import sys
from ast import literal_eval
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from tests import ROOT
from tests.stability.small_maps import cell, digits, easy, map_config, timeless
from torchmlp.diagnosis.diagnose import diagnose_run
from torchmlp.diagnosis.measure.sharpness import largest_rate
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.population_runs import train_together
from torchmlp.stability.map.single_run import train
from torchmlp.stability.map.task import CellError, Task, run_task, tasks_of

ORIGIN = "torchmlp.examples.origin.Origin"
KINDS = ((0.1, 0), (0.1, 1), (30.0, 0))  # rate and seed
# A recipe for each way in which a cell can be trained.
WAYS = {
    "population": map_config(steps=8),
    "population of several layers": map_config(
        steps=8, activation="tanh", loss="mse", dtype="float64"
    ),
    "population with Adam": map_config(
        steps=8, activation="gelu", optimizer="Adam", dtype="float64"
    ),
    "engine": map_config(steps=8, output_activation="tanh", dtype="float64"),
    "engine with Adamax": map_config(steps=8, optimizer="Adamax"),
    "autograd": map_config(ORIGIN, steps=8, dtype="float64"),
    "training step with dropout": map_config("Noisy", steps=8),
}
every_way = pytest.mark.parametrize("way", WAYS)


def cells_of(way: str) -> tuple[Cell, ...]:
    depth = 2 if "several layers" in way else 1
    return tuple(cell(depth=depth, lr=lr, seed=seed) for lr, seed in KINDS)


def plain_run(own: MapConfig, one: Cell) -> list[float]:
    """The losses of a cell in torch's modules, by autograd and torch's optimizer."""
    module = own.module(one)
    network = module.mlp.to_sequential()
    kind = getattr(torch.optim, own.optimizer["class_path"].rpartition(".")[2])  # type: ignore[index]
    optimizer = kind(network.parameters(), **{**own.optimizer["init_args"], "lr": one.lr})  # type: ignore[index]
    losses = []
    for x, labels in digits().batches(one, own.steps):
        optimizer.zero_grad()
        logits = network(x.flatten(1).to(own.torch_dtype) / 255)
        if module.loss == "mse":
            one_hot = nn.functional.one_hot(labels, 10).to(logits)
            loss = 0.5 * (logits - one_hot).square().sum(1).mean()
        else:
            loss = nn.functional.cross_entropy(logits, labels)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        optimizer.step()
    return losses


@pytest.mark.parametrize("way", [way for way in WAYS if "population" in way or "engine" in way])
def test_cells_train_as_by_autograd(way: str) -> None:
    """Every network's losses are those of a training by torch's modules and optimizers."""
    own = WAYS[way]
    cells = [one for one in cells_of(way) if one.lr < 1]
    together = train_together(cells, own, digits())
    assert (together is not None) == ("population" in way)
    runs = together or [train(one, own, digits()) for one in cells]
    for one, run in zip(cells, runs, strict=True):
        rtol = 1e-9 if own.dtype == "float64" else 1e-3
        assert run.losses == pytest.approx(plain_run(own, one), rel=rtol)


@pytest.mark.parametrize(
    "settings",
    [{"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {"weight_decay": 0.1}],
    ids=str,
)
def test_a_population_takes_the_optimizers_settings(settings: dict[str, Any]) -> None:
    """Momentum, Nesterov and weight decay are in the population as in torch's own training."""
    own = map_config(dtype="float64", settings=settings)
    one = cell(lr=0.05)
    runs = train_together([one, cell(lr=0.2)], own, digits())
    assert runs
    assert runs[0].losses == pytest.approx(plain_run(own, one), rel=1e-9)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_population_takes_other_optimizers(kind: str) -> None:
    """A map with Adam trains as one population too, at torch's own defaults."""
    own = map_config(optimizer=kind, dtype="float64", activation="gelu")
    one = cell(lr=0.005)
    runs = train_together([one, cell(lr=0.002)], own, digits())
    assert runs
    assert runs[0].losses == pytest.approx(plain_run(own, one), rel=1e-8)


@pytest.mark.parametrize(
    "own",
    [
        map_config(optimizer="Adamax"),
        map_config(bias=False),
        map_config(output_activation="sigmoid"),
        map_config("Noisy"),
        map_config(settings={"momentum": 0.9, "dampening": 0.5}),
        map_config(settings={"maximize": True}),
    ],
    ids=lambda own: f"{own.model} {own.optimizer}",
)
def test_what_no_population_trains_bit_for_bit(own: MapConfig) -> None:
    """Other optimizers, layers and modules are trained one by one."""
    assert train_together([cell(), cell(lr=0.2)], own, digits()) is None


def test_mup_trains_alike_in_a_population_and_alone() -> None:
    """Rate factors of the layers: the population's and the optimizer's are the same."""
    own = map_config(parametrization="mup", base_width=4, dtype="float64")
    runs = train_together([cell(width=32, lr=0.05)], own, digits())
    assert runs
    assert runs[0].losses == pytest.approx(train(cell(width=32, lr=0.05), own, digits()).losses)


@cache
def whole(way: str) -> list[dict[str, Any]]:
    """What comes of the cells of a way in one task, without the time."""
    found = timeless(run_task(Task(cells_of(way)), WAYS[way], easy()))
    assert found[-1]["cause"], "one of them is diagnosed, and that too has to be the same"
    return found


@pytest.mark.slow
@every_way
def test_a_cell_is_the_same_whatever_it_is_trained_beside(way: str) -> None:
    """In a task split in two, in another order: every field to the last bit."""
    first, *others = cells_of(way)
    parts = [Task((*reversed(others),)), Task((first,))]
    assert timeless([r for task in parts for r in run_task(task, WAYS[way], easy())]) == whole(way)


@pytest.mark.slow
def test_a_cell_is_the_same_in_another_process_and_with_more_threads() -> None:
    """A new process, whose torch has two threads, finds every field the same to the last bit."""
    ways = ["population", "engine", "training step with dropout"]
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from tests.stability.map.test_task import whole\n"
        f"print({{way: whole(way) for way in {ways}}})\n"
        "assert torch.get_num_threads() == 2"
    )
    folder = ROOT
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = subprocess.check_output(
        [sys.executable, "-c", program], text=True, cwd=folder, env=environment
    )
    assert literal_eval(found) == {way: whole(way) for way in ways}


def test_a_task_takes_one_thread() -> None:
    """Whatever torch was told before, which is as it was afterwards."""
    torch.set_num_threads(2)
    try:
        (found,) = run_task(Task((cell(lr=1e-9),)), map_config("ToldByThreads", steps=1), easy())
        assert found.first_loss == 1.0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@every_way
def test_nothing_random_is_left_changed(way: str) -> None:
    """Torch's generator draws afterwards what it would have drawn before."""
    state = torch.get_rng_state()
    run_task(Task(cells_of(way)[:1]), WAYS[way], easy())
    assert torch.equal(state, torch.get_rng_state())


def test_a_run_that_breaks_ends_there_and_disturbs_nobody() -> None:
    """Its losses end with the first that is not finite; its neighbour's are all finite."""
    own = map_config(loss="mse")
    broken, fine = run_task(Task((cell(lr=100.0), cell(lr=0.01))), own, digits())
    assert broken.outcome == "nan"
    assert broken.step is not None
    assert broken.step < own.steps
    assert (broken.loss, broken.accuracy) == (None, None)
    assert broken.first_loss is not None
    assert broken.first_loss == fine.first_loss
    assert fine.outcome != "nan"
    assert fine.loss is not None
    runs = train_together([cell(lr=100.0), cell(lr=0.01)], own, digits())
    assert runs
    assert [len(run.losses) for run in runs] == [broken.step, own.steps]
    assert not math.isfinite(runs[0].losses[-1])
    assert all(map(math.isfinite, runs[0].losses[:-1]))


@pytest.mark.slow
def test_origins_nan() -> None:
    """The example's nan at rate 1 after two steps, and at 0.2 none and nothing learned."""
    own = map_config(ORIGIN, dtype="float64", steps=12)
    cells = (
        cell(width=1000, batch_size=20, lr=1.0, seed=1),
        cell(width=1000, batch_size=20, lr=0.2, seed=1),
    )
    broken, stuck = run_task(Task(cells), own, digits())
    assert (broken.outcome, broken.step, broken.loss) == ("nan", 3, None)
    assert (stuck.outcome, stuck.step) == ("stuck", None)
    assert stuck.accuracy is not None
    assert abs(stuck.accuracy - 0.1) < 0.02
    assert (broken.cause, stuck.cause) == ("init-not-centred", "reported-loss-differs")


@pytest.mark.slow
def test_a_result_is_what_the_parts_of_the_package_say() -> None:
    """Accuracy, 2 / λmax and the cause are those of outside calls on the same run."""
    own = map_config(steps=20)
    samples = easy()
    good, bad = cell(width=32, lr=0.1), cell(width=32, lr=30.0)
    learned, failed = run_task(Task((good, bad)), own, samples)
    assert learned.outcome == "learns"
    assert learned.cause is None
    runs = train_together([good, bad], own, samples)
    assert runs
    assert learned.accuracy == runs[0].accuracy
    assert learned.loss == pytest.approx(sum(runs[0].losses[-2:]) / 2)
    batch = next(samples.batches(good, 1))
    edge = largest_rate(own.run(good, [batch]), batch)
    assert learned.largest_rate == failed.largest_rate == edge
    report = diagnose_run(own.run(bad, samples.epoch(bad, 20)), 20)
    assert failed.cause == report.findings[0].cause == "learning-rate-too-high"


def test_accuracy_is_the_share_told_right() -> None:
    """Of the samples held out, counted by hand with the trained network."""
    own, samples = map_config(steps=60), digits()
    run = train(cell(width=32), own, samples)
    module = own.module(cell(width=32))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for x, labels in samples.batches(cell(width=32), 60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    right = (module(samples.held_inputs).argmax(1) == samples.held_labels).double().mean()
    assert run.accuracy == pytest.approx(float(right), abs=0.003)


def test_cells_of_one_shape_and_batch_are_a_task() -> None:
    """All rates, initialisations and seeds of a width, depth and batch size are trained as one."""
    cells = [
        cell(width=width, batch_size=batch_size, lr=lr, init=init, seed=seed)
        for width in (8, 16)
        for batch_size in (4, 8)
        for lr in (0.1, 0.2)
        for init in ("he", "xavier")
        for seed in (0, 1)
    ]
    tasks = tasks_of(cells)
    assert [one for task in tasks for one in task.cells] == cells
    assert len(tasks) == 4
    for task in tasks:
        assert len({(one.width, one.depth, one.batch_size) for one in task.cells}) == 1


def test_seeds_have_their_own_batches_in_a_population() -> None:
    """Networks of different seeds see different batches: each its own run's."""
    own = map_config(dtype="float64")
    cells = [cell(seed=seed) for seed in (0, 1, 0)]
    runs = train_together(cells, own, digits())
    assert runs
    for one, run in zip(cells, runs, strict=True):
        assert run.losses == pytest.approx(plain_run(own, one), rel=1e-9)
    assert runs[0] == runs[2] != runs[1]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            "Fails",
            "width 8, depth 1, batch size 16, rate 0.1, init auto, seed 0: OSError: the disk",
        ),
        ("Shapeless", r"Shapeless returned \(500,\) for 500 samples"),
        ("NoHidden", "ValueError: a map needs a model with a parameter hidden"),
    ],
)
def test_a_cell_that_cannot_be_trained_is_named(model: str, words: str) -> None:
    """Whatever is raised inside is said of the cell."""
    with pytest.raises(CellError, match=words):
        run_task(Task((cell(),)), map_config(model), digits())


def test_a_run_of_floating_inputs() -> None:
    """Numbers are trained on as they are, in the configuration's dtype, by every way."""
    pixels = easy()
    numbers = replace(
        pixels,
        inputs=(pixels.inputs / 255).flatten(1),
        held_inputs=(pixels.held_inputs / 255).flatten(1),
    )
    task = Task((cell(width=32, lr=0.02),))
    for optimizer in ("SGD", "Adam"):
        own = map_config(optimizer=optimizer, steps=60, dtype="float64")
        (found,), (same,) = (run_task(task, own, x) for x in (numbers, pixels))
        assert found.loss == pytest.approx(same.loss, rel=1e-4)
