"""Does `explain_gradients` name what is wrong, and is it silent where nothing is?

python benchmarks/gradients.py --seeds 0 2000
python benchmarks/gradients.py --seeds 0 2000 --sets right

Of each seed two networks of wide ranges whose gradients are right, torch's and numpy's, one with a
mistake planted in it (tests/gradcheck), and, for every fourth, one with two. A row for each kind of
mistake and each set: how many there were, how many were named by name and layer (of pairs: both by
name), how many right networks were accused, how many calls raised, and the milliseconds of one.
Gradients that overflow cannot be judged, and are counted as refused; of right networks `named` is
those called right.
"""

# ruff: noqa: S311, PLR2004  random networks, and how often each kind is drawn

import argparse
import csv
import random
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import machine
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests.gradcheck.explain.test_search import LOSSES, NOT_NAMED, loss_of  # noqa: E402
from tests.gradcheck.faults import VARIANTS, Variant  # noqa: E402
from tests.gradcheck.plants import Pair, Plant, pairs, plant_at, plants  # noqa: E402
from tests.gradcheck.textbook import Case, network, random_case, right_gradients  # noqa: E402
from tests.problems import ACTIVATION_NAMES  # noqa: E402
from torchmlp import MLP  # noqa: E402
from torchmlp.gradcheck import Mistake, explain_gradients  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "gradients.csv"


@dataclass
class Row:
    """What came of one kind of one set."""

    count: int = 0
    named: int = 0
    accused: int = 0
    refused: int = 0
    exceptions: int = 0
    ms: float = 0.0


@dataclass(frozen=True)
class Given:
    """What is handed to `explain_gradients`."""

    network: nn.Module
    loss: str
    x: Any
    target: Any
    gradients: Any
    options: dict[str, Any]

    def explained(self) -> list[Mistake] | str:
        """The mistakes, or why there is no judgement: "refused" or the exception."""
        try:
            return explain_gradients(
                self.network, self.loss, self.x, self.target, self.gradients, **self.options
            )
        except ValueError as error:
            return "refused" if "cannot be judged" in str(error) else f"{error!r}"
        except Exception as error:  # noqa: BLE001  it is what is counted
            return f"{error!r}"


def right(seed: int) -> tuple[str, Given]:
    """A network of 1 to 6 layers and autograd's gradients: ordinary, or of an extreme kind."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kind = draw.choice(
        ["ordinary", "large", "small", "mixed", "perfect fit", "one row", "one output"]
    )
    depth, rows = draw.randint(1, 6), 1 if kind == "one row" else draw.randint(1, 20)
    widths = [draw.randint(1, 24) for _ in range(depth + 1)]
    widths[-1] = 1 if kind == "one output" else widths[-1]
    activation = draw.choice(ACTIVATION_NAMES)
    output = draw.choice(ACTIVATION_NAMES) if draw.random() < 0.4 else "identity"
    loss = draw.choice(LOSSES)
    dtype = draw.choice([torch.float32, torch.float64])
    mlp = MLP(widths[0], widths[1:-1], widths[-1], activation, output)
    plain = mlp.to_sequential().to(dtype)
    low, high = {"large": (0, 5), "small": (-5, 0), "mixed": (-4, 4)}.get(kind, (-0.2, 0.2))
    x = torch.randn(rows, widths[0], dtype=dtype) * 10 ** draw.uniform(low, high)
    with torch.no_grad():
        for p in plain.parameters():
            if p.ndim == 1:
                p.copy_(torch.randn_like(p) * draw.choice([0, 0.3]))
            p.mul_(10 ** draw.uniform(low, high))
    target = torch.rand(rows, widths[-1], dtype=dtype) * 10 ** draw.uniform(low, high)
    with torch.no_grad():
        z = plain(x)
    if loss == "cross_entropy":
        target = torch.randint(widths[-1], (rows,))
        if kind == "perfect fit":
            target = torch.softmax(z, -1) if draw.random() < 0.5 else z.argmax(-1)
            with torch.no_grad():
                for p in list(plain.parameters())[-2:]:
                    p.mul_(draw.choice([1, 10, 1000]))
    elif loss == "bce":
        target = (target > target.mean()).to(dtype)
        if kind == "perfect fit":
            target = torch.sigmoid(z)
    elif kind == "perfect fit":
        target = z * (1 + draw.choice([0, 1e-7, 1e-12, 1e-15]))
    options: dict[str, Any] = {}
    decayed = draw.choice(["no", "no", "weights", "both"])
    decay = 10 ** draw.uniform(-6, 2)
    value = loss_of(plain(x), target, loss)
    gradients = list(torch.autograd.grad(value, list(plain.parameters())))
    if decayed != "no":
        options["weight_decay"] = decay
        gradients = [
            g + decay * p.detach() * (p.ndim == 2 or decayed == "both")
            for g, p in zip(gradients, plain.parameters(), strict=True)
        ]
    return kind, Given(plain, loss, x, target, gradients, options)


def drawn(seed: int) -> tuple[Case, random.Random]:
    """A network of 1 to 6 layers, 1 to 20 rows and weights of a third to three times the usual."""
    draw = random.Random(seed)
    depth, loss = draw.randint(1, 6), draw.choice(LOSSES)
    widths = [draw.randint(1 if draw.random() < 0.1 else 2, 12) for _ in range(depth + 1)]
    if draw.random() < 0.3:
        widths = [draw.randint(2, 8)] * (depth + 1)
    if loss == "cross_entropy":
        widths[-1] = max(2, widths[-1])
    output = draw.choice(ACTIVATION_NAMES) if draw.random() < 0.4 else "identity"
    rows = draw.choice([1, 2, 3, 5, 8, 20])
    case = random_case(
        seed, depth, draw.choice(ACTIVATION_NAMES), loss, rows, tuple(widths), output
    )
    size = 10 ** draw.uniform(-0.5, 0.5)
    return replace(case, weights=[size * weight for weight in case.weights]), draw


def given(case: Case, plant: Plant | Pair) -> Given:
    """What is handed over."""
    options = dict(plant.kwargs)
    return Given(network(case), case.loss, case.x, case.target, plant.gradients, options)


def is_ordinary(name: str, variant: str) -> bool:
    """Whether a method that sees one batch can name it."""
    return (name, variant.removesuffix("-odd-shape").removesuffix("-none")) not in NOT_NAMED


def singles(seed: int) -> tuple[str, Plant, Given] | None:
    """A mistake of a kind drawn among all, in one of its ways and places."""
    case, draw = drawn(seed)
    by_name: dict[str, list[Variant]] = defaultdict(list)
    for variant in VARIANTS.values():
        if (variant.name, variant.variant) not in NOT_NAMED:
            by_name[variant.name].append(variant)
    for _ in range(100):
        variant = draw.choice(by_name[draw.choice(sorted(by_name))])
        places = variant.places(case.depth)
        plant = plant_at(case, variant, draw.choice(places)) if places else None
        if plant is not None:
            return plant.name, plant, given(case, plant)
    return None


def doubles(seed: int) -> tuple[str, Pair, Given] | None:
    """Two likely mistakes at once."""
    case, draw = drawn(seed)
    some = list(pairs(case))
    if not some:
        return None
    pair = draw.choice(some)
    return "+".join(name for name, _, _ in pair.mistakes), pair, given(case, pair)


def is_named(planted: Plant | Pair, found: list[Mistake], seed: int) -> bool:
    """A single first and by its layer, or one whose plants are the same numbers; of a pair both."""
    if isinstance(planted, Pair):
        return {name for name, _, _ in planted.mistakes} <= {m.name for m in found}
    if not found:
        return False
    said = found[0].name, found[0].layer
    if said == (planted.name, planted.layer):
        return True
    key = planted.name, planted.variant, planted.layer
    alike = (p.also for p in plants(drawn(seed)[0]) if (p.name, p.variant, p.layer) == key)
    return said in next(alike)


def described(planted: Plant | Pair | None) -> str:
    """What was planted, where."""
    if isinstance(planted, Plant):
        return f"{planted.variant}, layer {planted.layer}"
    return str(planted.mistakes) if planted else ""


def judge(seeds: range, sets: list[str], *, verbose: bool) -> dict[tuple[str, str], Row]:
    """Rows by set and kind."""
    rows: dict[tuple[str, str], Row] = defaultdict(Row)
    for seed in seeds:
        drawn_now: list[tuple[str, str, Plant | Pair | None, Given]] = []
        if "right" in sets:
            drawn_now.append(("right", (made := right(seed))[0], None, made[1]))
            case, _ = drawn(seed)
            handed = Given(network(case), case.loss, case.x, case.target, right_gradients(case), {})
            drawn_now.append(("right", "in numpy", None, handed))
        if "singles" in sets and (one := singles(seed)):
            drawn_now.append(("singles", *one))
        if "pairs" in sets and seed % 4 == 0 and (two := doubles(seed)):
            drawn_now.append(("pairs", *two))
        for name, kind, planted, handed in drawn_now:
            start = time.perf_counter()
            found = handed.explained()
            row = rows[name, kind]
            row.ms += 1000 * (time.perf_counter() - start)
            row.count += 1
            if isinstance(found, str):
                row.refused += found == "refused"
                row.exceptions += found != "refused"
                is_good, shown = False, found
            else:
                is_good = not found if planted is None else is_named(planted, found, seed)
                row.accused += planted is None and not is_good
                shown = str([(m.name, m.layer) for m in found[:2]])
            row.named += is_good
            if verbose and not is_good:
                print(seed, name, kind, described(planted), "->", shown)
    return rows


def main() -> None:
    """Judge, print the sums, store the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 2000], metavar=("FROM", "TO"))
    parser.add_argument("--sets", nargs="+", default=["right", "singles", "pairs"])
    parser.add_argument("--verbose", action="store_true", help="a line for each that was missed")
    parser.add_argument("--note", default="", help="such as: not looked at before")
    options = parser.parse_args()
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    rows = judge(range(*options.seeds), options.sets, verbose=options.verbose)
    seeds = "{}..{}".format(*options.seeds)
    for name in options.sets:
        total = Row()
        for (of, _), row in rows.items():
            if of == name:
                for key, value in asdict(row).items():
                    setattr(total, key, getattr(total, key) + value)
        rows[name, "all"] = total
        print(f"{name}, seeds {seeds}: {total}, {total.ms / max(1, total.count):.0f} ms each")
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            head = ["set", "kind", "seeds", "note", *asdict(Row()), *machine()]
            writer.writerow(head)
        for (name, kind), row in sorted(rows.items()):
            row.ms = round(row.ms / max(1, row.count), 1)
            cells = [*asdict(row).values(), *machine().values()]
            writer.writerow([name, kind, seeds, options.note, *cells])


if __name__ == "__main__":
    main()
