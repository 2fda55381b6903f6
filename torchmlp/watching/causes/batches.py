"""What the loop is fed: classes one after the other, or one batch again and again."""

import weakref
from collections import Counter
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, quoted
from torchmlp.watching.seen.loop import Backward, Call, Loop
from torchmlp.watching.seen.sites import Site, users_site

KEPT = 50  # cuts from larger tensors: those of the last steps
MOST = 50_000  # labels that are kept
FEW = 5  # other batches that are drawn, beside which one alone is no choice
REPEATED = 20  # steps on one batch; fewer are a first check


class NotShuffled(Rule):
    """The samples come sorted by class."""

    cause = "not-shuffled"
    stage = Stage.DATA
    LOSSES = frozenset(
        {"cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "binary_cross_entropy"}
    )
    functions = LOSSES | {"__getitem__"}
    LEAST = 3  # batches
    SORTED = 0.9  # of neighbouring samples have one label; shuffled, the sum of squared shares
    SHUFFLED = 0.7  # where that is higher, one class is nearly all there is

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.labels: dict[Site | None, list[Tensor]] = {}
        self.count = 0
        self.cut: dict[int, tuple[weakref.ref[Tensor], Site | None]] = {}
        self.loader: Site | None = None

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        if name == "__getitem__":
            if not stack and isinstance(result, Tensor) and result.ndim:
                if len(self.cut) > KEPT:
                    self.cut.clear()
                self.cut[id(result)] = (weakref.ref(result), users_site())
            return
        if name not in self.LOSSES or not isinstance(result, Tensor) or not result.requires_grad:
            return
        target = kwargs.get("target", args[1] if len(args) > 1 else None)
        if isinstance(target, Tensor) and self.count < MOST:
            label = _labels(target)
            if label is not None:
                ref, cut = self.cut.get(id(target), (lambda: None, None))
                site = cut if ref() is target else users_site()
                self.labels.setdefault(site, []).append(label)
                self.count += len(label)

    def loader_started(self, loader: Any, site: Site | None) -> None:
        self.loader = self.loader or self.loop.made(loader)[0] or site

    def found(self) -> Finding | None:
        return next(filter(None, (self._of(site, b) for site, b in self.labels.items())), None)

    def _of(self, site: Site | None, batches: list[Tensor]) -> Finding | None:
        if len(batches) < self.LEAST:
            return None
        counts = Counter[int]()
        same = pairs = 0
        means = []
        for batch in batches:
            values = batch.tolist()
            counts.update(values)
            same += sum(a == b for a, b in pairwise(values))
            pairs += len(values) - 1
            means.append(frozenset(values))
        total = sum(counts.values())
        expected = sum((n / total) ** 2 for n in counts.values())
        if len(counts) < 2 or not pairs or expected > self.SHUFFLED:  # noqa: PLR2004  classes
            return None
        classes_in_a_batch = sum(map(len, means)) / len(means)
        # Single runs of each class through an epoch: the order of a sorted table or folder.
        if same / pairs < self.SORTED or not _comes_in_runs(batches, len(counts)):
            return None
        site = self.loader or site
        return self.finding(
            site,
            f"the samples come sorted by class: a batch has {classes_in_a_batch:.2g} of "
            f"{len(counts)} classes on average, and {100 * same / pairs:.0f} % of neighbouring "
            f"samples have the same label, where {100 * expected:.0f} % would if they were "
            f"shuffled; the network learns one class after the other and forgets the last.",
            "DataLoader(..., shuffle=True), or a new order for each epoch: "
            "order = torch.randperm(len(x))",
            {
                "classes": len(counts),
                "classes in a batch": classes_in_a_batch,
                "neighbours alike": same / pairs,
            },
            quantity="target",
        )


def _labels(target: Tensor) -> Tensor | None:
    """One class for each sample; None where the target has none."""
    target = target.detach()
    if target.ndim == 2 and target.shape[1] == 1:  # noqa: PLR2004  a column
        target = target[:, 0]
    if target.ndim == 2 and target.is_floating_point():  # noqa: PLR2004  one-hot rows
        return target.argmax(1).cpu() if bool((target.sum(1) == 1).all()) else None
    if target.ndim != 1 or len(target) < 2:  # noqa: PLR2004  neighbours
        return None
    if target.is_floating_point() and not bool((target == target.round()).all()):
        return None
    return target.long().cpu()


def _comes_in_runs(batches: list[Tensor], classes: int) -> bool:
    """Whether the labels go through the classes in as few runs as sorted ones do."""
    stream = torch.cat(batches)
    runs = 1 + int((stream[1:] != stream[:-1]).sum())
    # As many runs as classes in each epoch; an epoch is taken to be at least four batches. Whole
    # batches of one class in turns, as of real and made-up images, are meant.
    epochs = max(len(batches) / 4, 1)
    mixed = any(len(set(batch.tolist())) > 1 for batch in batches)
    long = len(stream) / runs > (4 if mixed else 1.5 * len(batches[0]))  # samples in a run
    return runs <= 2 * classes * epochs and long


class SameBatch(Rule):
    """Every step sees the same batch of a larger set."""

    cause = "same-batch"
    stage = Stage.DATA
    only_close = frozenset({"backward_started", "batch_drawn", "model_called"})
    functions = frozenset({"__getitem__", "index_select", "narrow"})
    SPLIT = 0.5  # of the rows; a part that large is a training set

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.same = self.trained = 0
        self.last: tuple[Any, ...] | None = None
        self.rows = (0, 0)
        self.site: Site | None = None
        self.cut: dict[int, tuple[Any, int, Site | None]] = {}
        self.whole: int | None = None
        self.loader: Site | None = None
        self.from_loader = False
        self.fixed: tuple[int, int] = (0, 0)  # an input's identity, and the steps it was used
        self.shape: tuple[int, ...] = ()
        self.evaluated: set[float] = set()
        self.fixed_site: Site | None = None
        # By line and seed: how often one model was trained between; batches since, and seen before.
        self.seeds: Counter[tuple[Site, str]] = Counter()
        self.trained_at_seed = 0
        self.known: set[tuple[Any, ...]] = set()
        self.repeated = 0
        self.models: set[int] = set()
        self.batch: dict[int, Any] = {}

    def loader_started(self, loader: Any, site: Site | None) -> None:
        try:
            self.whole = len(loader.dataset)
        except (TypeError, AttributeError):
            self.whole = None
        self.loader = site

    def batch_drawn(self, _iterator: Any, batch: Any, _site: Site | None) -> None:
        parts = batch if isinstance(batch, tuple | list) else [batch]
        self.batch = {id(part): (part, self.whole) for part in parts if isinstance(part, Tensor)}

    def function_called(
        self, name: str, args: Any, _kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        if name not in self.functions or stack or not isinstance(result, Tensor):
            return
        whole = args[0]
        if isinstance(whole, Tensor) and whole.ndim and result.ndim == whole.ndim:
            if len(self.cut) > KEPT:
                self.cut.clear()
            self.cut[id(result)] = (result, len(whole), users_site())

    def seeded(self, seed: str, site: Site | None) -> None:
        if site is not None and self.trained > self.trained_at_seed:
            self.seeds[site, seed] += 1
        self.trained_at_seed = self.trained

    def model_called(self, call: Call) -> None:
        x = next((a for a in call.args if isinstance(a, Tensor) and a.numel()), None)
        if call.tracks_gradients or x is None or len(self.evaluated) >= KEPT:
            return
        if tuple(x.shape) == self.shape:
            self.evaluated.add(float(x.detach().double().sum()))

    def backward_started(self, backward: Backward) -> None:
        if not self.loop.is_close:
            return
        for call in backward.calls:
            if call.tracks_gradients and next(call.module.parameters(), None) is not None:
                self._compare(call)
                return

    def _compare(self, call: Call) -> None:
        x = next((a for a in call.args if isinstance(a, Tensor)), None)
        if x is None or not x.ndim or not x.numel():
            return
        again = id(x) == self.fixed[0]
        self.fixed = (id(x), self.fixed[1] + 1 if again else 1)
        self.shape, self.fixed_site = tuple(x.shape), call.site
        cut, drawn = self.cut.get(id(x)), self.batch.get(id(x))
        whole = site = None
        if drawn is not None and drawn[0] is x:
            whole, site, self.from_loader = drawn[1], self.loader, True
        elif cut is not None and cut[0] is x:
            whole, site = cut[1], cut[2]
        self.trained += 1
        seen = (
            tuple(x.shape),
            x.dtype,
            float(x.detach().double().sum()),
            float(x.detach().reshape(-1)[0]),
        )
        if whole is None:  # neither a loader's nor cut out of a larger tensor: made for this step
            self.models.add(id(call.module))
            self.repeated += seen in self.known
            self.known.add(seen)
        if seen == self.last and whole is not None and len(x) < self.SPLIT * whole:
            self.same += 1
            self.rows, self.site = (len(x), whole), site
        elif self.last is not None and seen != self.last:
            self.same = -(10**9)  # another batch was seen
        self.last = seen

    def found(self) -> Finding | None:
        if self.same < REPEATED - 1:
            return self._unlike_the_evaluations() or self._drawn_again()
        few, whole = self.rows
        again = "; next(iter(loader)) begins anew each time" if self.from_loader else ""
        return self.finding(
            self.site,
            f"{self.same + 1} steps saw the same {few} of {whole} samples{again} "
            f"({quoted(self.site)}): the network learns these and nothing else.",
            "go through all batches: for x, y in loader: ..."
            if self.from_loader
            else "choose other rows in each step, by an index that changes in the loop",
            {"steps": self.same + 1, "samples in the batch": few, "samples": whole},
            quantity="x",
        )

    def _unlike_the_evaluations(self) -> Finding | None:
        """One tensor in every step, where the evaluations draw batches of its shape."""
        steps, drawn = self.fixed[1], len(self.evaluated)
        if steps < REPEATED or steps < self.trained or drawn < FEW:
            return None
        return self.finding(
            self.fixed_site,
            f"{steps} steps saw the same batch of shape {self.shape}, while {drawn} others of "
            f"that shape were drawn for the evaluations ({quoted(self.fixed_site)}): the network "
            f"learns this one and nothing else.",
            "draw the batch inside the loop",
            {"steps": steps, "other batches": drawn},
            quantity="x",
        )

    def _drawn_again(self) -> Finding | None:
        """Batches that are drawn are the same ones, for the generator is seeded again."""
        again = [(site, times) for (site, _), times in self.seeds.items() if times >= FEW]
        if not again or self.repeated < self.trained / 2 or len(self.models) != 1:
            return None
        site, times = again[0]
        return self.finding(
            site,
            f"{self.repeated} of {self.trained} steps saw a batch that was drawn before: "
            f"{quoted(site)}, seeds the generator again with the same number, {times} times while "
            f"the network trains, and {len(self.known)} batches come again and again.",
            "seed once, before the loop, or with a number of its own for each worker and epoch",
            {"steps": self.trained, "batches": len(self.known), "seeded again": times},
            quantity="x",
        )
