"""False alarms: healthy runs drawn at random, of data, network, rate, optimizer and batch size.

python benchmarks/diagnosis/drawn.py [--first SEED] writes results/drawn.csv beside the others.
A run is healthy where plain training brings it nearly as far as the best of its data's runs gets.
Rules are made on the seeds 0 to 999, and judged on those from 10000 on, which nobody has looked at.
"""

import argparse
import csv
import random
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from datasets import (
    above,
    accuracy,
    answers,
    blobs,
    changed,
    circles,
    digits,
    friedman,
    moons,
    noisy,
    plane,
    r2,
    sine,
    spirals,
    xor,
)
from networks import MapConfig, Residual, stack
from run import Batch, Problem
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from torchmlp.diagnosis import diagnose

RESULTS = Path(__file__).parents[1] / "results" / "drawn.csv"
COLUMNS = ("seed", "run", "score", "of", "named", "layer", "verdict", "seconds")
MADE, JUDGED = 0, 10_000  # first seeds
NEARLY = 0.85  # of what the best run of the same data gains
WANTED = 200
PIXELS = 784
Draw = Callable[[], Batch]


def column(data: Draw) -> Draw:
    """Labels of two classes as a column of floats."""

    def draw() -> Batch:
        x, y = data()
        return x, y.float().reshape(-1, 1)

    return draw


# Data, inputs, outputs, and what the outputs are.
DATA: dict[str, tuple[Draw, int, int, str]] = {
    "blobs": (blobs(800, 4, 6), 6, 4, "classes"),
    "overlapping blobs": (changed(blobs(800, 3, 4), y=noisy(0.2, 3)), 4, 3, "classes"),
    "moons": (moons(600, 0.2), 2, 1, "yes or no"),
    "circles": (circles(600), 2, 2, "classes"),
    "circles, one output": (column(circles(600)), 2, 1, "yes or no"),
    "spirals": (spirals(600, 3), 2, 3, "classes"),
    "xor": (xor(600), 2, 1, "yes or no"),
    "answers": (answers(800), 12, 1, "yes or no"),
    "digits": (digits(1000), 784, 10, "classes"),
    "noisy digits": (changed(digits(1000), y=noisy(0.2, 10)), 784, 10, "classes"),
    "friedman": (friedman(800), 10, 1, "numbers"),
    "plane": (plane(500, 8, 1.0), 8, 1, "numbers"),
    "sine": (sine(500), 1, 1, "numbers"),
    "noisy sine": (sine(500, noise=0.4), 1, 1, "numbers"),
}
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid)


class Pixels(nn.Module):
    """A small convolutional network."""

    def __init__(self, channels: int, phi: Callable[[], nn.Module], *, is_pooled: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2),
            phi(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2),
            phi(),
            *([nn.AdaptiveAvgPool2d(2)] if is_pooled else []),
            nn.Flatten(),
        )
        self.last = nn.LazyLinear(10)
        self(torch.zeros(1, 784))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of pixels in a row."""
        scores: Tensor = self.last(self.body(x.reshape(-1, 1, 28, 28)))
        return scores


class Sequence(nn.Module):
    """Reads the rows of a picture one after another."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], width: int) -> None:
        super().__init__()
        self.reader = kind(28, width, batch_first=True)
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of pixels in a row."""
        scores: Tensor = self.last(self.reader(x.reshape(-1, 28, 28))[0][:, -1])
        return scores


def network(
    choose: random.Random, inputs: int, outputs: int
) -> tuple[str, Callable[[], nn.Module]]:
    """A network drawn at random, and what it is."""
    kind = choose.choice(("convolutional", "convolutional", "recurrent", *("other",) * 7))
    phi = choose.choice(ACTIVATIONS)
    width = choose.choice((16, 32, 64, 128, 256))
    if inputs == PIXELS and kind == "convolutional":
        pooled = choose.choice((True, False))
        made = partial(Pixels, choose.choice((4, 8)), phi, is_pooled=pooled)
        return f"convolutions{' pooled' * pooled}, {phi.__name__}", made
    if inputs == PIXELS and kind == "recurrent":
        reader = choose.choice((nn.LSTM, nn.GRU))
        return f"{reader.__name__} of 32", partial(Sequence, reader, 32)
    if choose.choice((True, *(False,) * 5)):
        depth = choose.choice((2, 4))
        return f"residual {width} x {depth}", lambda: Residual((inputs, width, outputs), depth)
    depth = choose.choice((1, 1, 2, 2, 3, 4))
    between = choose.choice(((), (), (), ("batch-norm",), (partial(nn.Dropout, 0.2),)))
    after = between if between and between[0] != "batch-norm" else ()
    before = between if between and between[0] == "batch-norm" else ()
    parts = [inputs, *(width, *before, phi, *after) * depth, outputs]
    said = "batch norm" if before else "dropout" if after else "plain"
    return f"{said} {width} x {depth}, {phi.__name__}", stack(*parts)


def optimizer(choose: random.Random) -> tuple[str, Callable[..., Optimizer]]:
    """An optimizer at a rate within a decade and a half of what is common."""
    kind, usual = choose.choice(
        (("SGD", 0.1), ("momentum", 0.03), ("Adam", 3e-3), ("AdamW", 3e-3), ("RMSprop", 1e-3))
    )
    rate = usual * 10 ** choose.uniform(-0.75, 0.75)
    choose_momentum = choose.choice((0.9, 0.95))
    made = {
        "SGD": lambda p: SGD(p, rate),
        "momentum": lambda p: SGD(p, rate, momentum=choose_momentum),
        "Adam": lambda p: Adam(p, rate),
        "AdamW": lambda p: AdamW(p, rate, weight_decay=0.05),
        "RMSprop": lambda p: RMSprop(p, rate),
    }
    return f"{kind} {rate:.2g}", made[kind]


def drawn(seed: int) -> tuple[str, str, MapConfig]:
    """The run of a seed: what it is, its data's name, and how it is made."""
    choose = random.Random(seed)  # noqa: S311  no secret
    name = choose.choice(list(DATA))
    data, inputs, outputs, kind = DATA[name]
    said, net = network(choose, inputs, outputs)
    how, optim = optimizer(choose)
    batch = choose.choice((8, 16, 32, 64, 128))
    steps = choose.choice((100, 150, 200, 300))
    loss = {"classes": nn.CrossEntropyLoss(), "numbers": nn.MSELoss()}.get(kind)
    score = {"classes": accuracy, "numbers": r2}.get(kind, above(0.0))
    recipe = MapConfig(
        data, net, loss or nn.BCEWithLogitsLoss(), optim, score, batch=batch, steps=steps
    )
    return f"{name}: {said}; {how}, batch {batch}, {steps} steps", name, recipe


def trained(problem: Problem) -> tuple[float, float]:
    """The scores before and after plain training."""
    before = problem.score(problem.model, problem.batches)
    problem.model.train()
    for step in range(problem.steps):
        x, target = problem.batches[step % len(problem.batches)]
        problem.optimizer.zero_grad()
        problem.loss(problem.model(x), target).backward()  # type: ignore[no-untyped-call]  # torch's
        problem.optimizer.step()
    return max(before, 0.0), problem.score(problem.model, problem.batches)


@cache
def best(name: str) -> float:
    """What a network that is known to do well reaches on the data."""
    data, inputs, outputs, kind = DATA[name]
    loss = {"classes": nn.CrossEntropyLoss(), "numbers": nn.MSELoss()}.get(kind)
    score = {"classes": accuracy, "numbers": r2}.get(kind, above(0.0))
    recipe = MapConfig(
        data,
        stack(inputs, 64, nn.ReLU, 64, nn.ReLU, outputs),
        loss or nn.BCEWithLogitsLoss(),
        partial(Adam, lr=5e-3),
        score,
        batch=32,
        steps=300,
    )
    return trained(recipe(0))[1]


def is_healthy(name: str, outcome: tuple[float, float]) -> bool:
    """Whether a run gains nearly what can be gained."""
    outputs, kind = DATA[name][2:]
    floor = 0.0 if kind == "numbers" else 1 / max(outputs, 2)
    return outcome[1] - floor >= NEARLY * (best(name) - floor)


def measure(seed: int) -> dict[str, object] | None:
    """One row; None where the run is not healthy."""
    said, name, recipe = drawn(seed)
    outcome = trained(recipe(seed))
    if not is_healthy(name, outcome):
        return None
    problem = recipe(seed)
    start = time.perf_counter()
    report = diagnose(
        problem.model,
        problem.loss,
        problem.optimizer,
        problem.batches,
        steps=problem.steps,
        budget=None,  # a busy machine would change the answers
    )
    seconds = round(time.perf_counter() - start, 2)
    row: dict[str, object] = {"seed": seed, "run": said, "score": round(outcome[1], 3)}
    row |= {"of": round(best(name), 3), "verdict": report.verdict, "seconds": seconds}
    if report.findings:
        row |= {"named": report.findings[0].cause, "layer": report.findings[0].layer}
    return row


def main() -> None:
    """Draw until there are enough healthy runs, print the false alarms, and write all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=JUDGED, help="first seed")
    parser.add_argument("--count", type=int, default=WANTED, help="healthy runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows: list[dict[str, object]] = []
    seed = options.first
    while len(rows) < options.count:
        if row := measure(seed):
            rows.append(row)
            if row.get("named"):
                print(*(f"{k}: {v}" for k, v in row.items()), sep="  ", flush=True)
        seed += 1
    alarms = sum(bool(row.get("named")) for row in rows)
    doubts = sum(not str(row["verdict"]).startswith("healthy") for row in rows)
    print(f"{alarms} false alarms on {len(rows)} healthy runs of {seed - options.first} drawn;")
    print(f"{doubts} without a finding that are not called healthy in so many words")
    if options.first == JUDGED:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
