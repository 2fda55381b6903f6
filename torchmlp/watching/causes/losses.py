"""Mistakes in how the loss is computed."""

import linecache
import math
import re
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, quoted, source_of
from torchmlp.watching.seen.loop import CLOSE, Backward, Call, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site, users_site

REPEATED = 3
PAIRED = frozenset(  # losses that compare an output with a target of its shape
    {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"}
    | {"binary_cross_entropy_with_logits", "gaussian_nll_loss", "poisson_nll_loss"}
)
BOUNDED = PAIRED - {"gaussian_nll_loss", "poisson_nll_loss"} | {"cross_entropy", "nll_loss"}
MATRIX = 2


class ShapeBroadcast(Rule):
    """(N, 1) against (N,): every output is compared with every target."""

    cause = "shape-broadcast"
    stage = Stage.LOSS
    BY_HAND = frozenset({"sub", "__sub__", "rsub", "__rsub__", "mul", "__mul__"})
    only_close = frozenset({"backward_started"})
    functions = PAIRED | BY_HAND

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.seen: dict[Site, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}
        self.targets: tuple[Site | None, tuple[int, ...], tuple[int, ...]] | None = None

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        del result
        if name not in self.functions:
            return
        given = [*args, *kwargs.values()][:2]
        if len(given) < 2 or not all(isinstance(g, Tensor) for g in given):  # noqa: PLR2004  output, target
            return
        a, b = given
        if self._meets_crossed_targets(a, b) or not _is_crossed(a, b):
            return
        if not (a.requires_grad or b.requires_grad):
            if _is_batch_against_batch(tuple(a.shape), tuple(b.shape)):
                self.targets = (users_site(), tuple(a.shape), tuple(b.shape))
            return
        within = bool(stack) and next(stack[0].parameters(), None) is not None
        if within:
            return  # a model's own arithmetic: attention, distances
        site = users_site()
        if site is not None:
            times = self.seen.get(site, (0,))[0]
            self.seen[site] = (times + 1, tuple(a.shape), tuple(b.shape))

    def _meets_crossed_targets(self, a: Tensor, b: Tensor) -> bool:
        """Outputs (N, 1) against targets that became (N, N) where they were computed."""
        square, column = (a, b) if a.numel() > b.numel() else (b, a)
        site, first, second = self.targets or (None, (), ())
        if site is None or square.ndim != MATRIX or square.requires_grad:
            return False
        if not column.requires_grad or square.shape[0] != square.shape[1]:
            return False
        if square.shape[0] not in first or column.numel() != square.shape[0]:
            return False
        self.seen[site] = (self.seen.get(site, (0,))[0] + 1, first, second)
        return True

    def backward_started(self, _backward: Backward) -> None:
        self.targets = None

    def found(self) -> Finding | None:
        for site, (times, a, b) in self.seen.items():
            if times < REPEATED or not _is_batch_against_batch(a, b):
                continue
            rows = max(a[0], b[0])
            output, target = (a, b) if len(a) > len(b) else (b, a)
            return self.finding(
                site,
                f"shapes {a} and {b} are broadcast to {(rows, rows)} at "
                f"{quoted(site)}: each of the {rows} outputs is compared with all {rows} "
                f"targets, and the network learns their mean.",
                f"give both the same shape: output.squeeze(1), or target.unsqueeze(1), where one "
                f"is {output} and the other {target}",
                {"outputs": math.prod(a), "targets": math.prod(b), "compared": rows * rows},
                quantity="loss",
            )
        return None


def _is_crossed(a: Tensor, b: Tensor) -> bool:
    """Whether each of two tensors is repeated along an axis of the other."""
    if a.ndim == 0 or b.ndim == 0 or a.shape == b.shape:
        return False
    try:
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]  # torch's
    except RuntimeError:
        return False
    return bool(a.numel() < math.prod(shape) > b.numel())


def _is_batch_against_batch(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """(N, 1) and (N,): as many rows in both. Quantiles are (N, 1) and (Q,) with another Q."""
    long, short = (a, b) if len(a) > len(b) else (b, a)
    return len(long) == len(short) + 1 and long[-1] == 1 and long[:-1] == short and short[0] > 1


class SoftmaxAxis(Rule):
    """A softmax over the batch, not over the classes."""

    cause = "softmax-axis"
    stage = Stage.LOSS
    only_close = frozenset({"backward_started"})
    SOFTMAXES = frozenset({"softmax", "log_softmax", "softmin"})
    functions = SOFTMAXES | BOUNDED

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.new: list[tuple[Site, tuple[int, ...]]] = []
        self.seen: dict[Site, tuple[int, tuple[int, ...]]] = {}
        self.targets: set[int] = set()

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        del stack
        if name in BOUNDED:
            target = kwargs.get("target", args[1] if len(args) > 1 else None)
            if isinstance(target, Tensor) and target.ndim:
                self.targets.add(len(target))
            return
        if name not in self.SOFTMAXES or not isinstance(result, Tensor):
            return
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not result.requires_grad or result.ndim != MATRIX or axis not in (0, -2):
            return
        site = users_site()
        if site is not None and len(result) > 1:
            self.new.append((site, tuple(result.shape)))

    def backward_started(self, backward: Backward) -> None:
        """Where the rows are the samples: as many as the network was given, and has targets for."""
        given = {
            len(value)
            for call in backward.calls
            for value in call.args
            if isinstance(value, Tensor) and value.ndim
        }
        for site, shape in self.new:
            if shape[0] in given and (shape[0] in self.targets or not self.targets):
                self.seen[site] = (self.seen.get(site, (0,))[0] + 1, shape)
        self.new, self.targets = [], set()

    def found(self) -> Finding | None:
        for site, (times, shape) in self.seen.items():
            if times >= REPEATED:
                return self.finding(
                    site,
                    f"{quoted(site)}, takes the softmax of numbers of shape {shape} over the "
                    f"{shape[0]} samples of the batch: it is the {shape[1]} numbers of a sample "
                    f"that must add up to one.",
                    "take it along the other axis: dim=1 (or dim=-1)",
                    {"samples": shape[0], "numbers of a sample": shape[1], "dim": 0},
                    quantity="output",
                )
        return None


class LossAscended(Rule):
    """The weights move so that the loss grows."""

    cause = "loss-ascended"
    stage = Stage.LOSS
    only_close = frozenset({"backward_ended", "backward_started", "step_started"})
    functions = BOUNDED
    ENDS = ("NllLoss", "MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BinaryCrossEntropy")
    SUMS = ("Neg", "Mul", "Div", "Sub", "Rsub", "Add", "Mean", "Sum", "Squeeze", "View")
    # What is to be made large, by its name on the line of the backward pass.
    MAXIMIZED = re.compile(
        r"(?<![\w.-])((?:\w+\.)?(?!\w*(?:neg|nll|loss|minus))\w*"
        r"(?:log_?lik|likelihood|elbo|log_?prob|evidence|return|accuracy)\w*)\.backward\("
    )
    GROWN = 1.1  # times its start; a loss that learns badly does not grow steadily
    LOOKED_AT = 8

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.losses: list[float] = []
        self.negative = self.positive = 0
        self.site: Site | None = None
        self.negated_at: Site | None = None
        self.maximized: Site | None = None
        self.last: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.up = self.down = 0
        self.stepped = False
        self.roots: list[float] = []

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        del args, kwargs, stack
        if name in BOUNDED and isinstance(result, Tensor) and result.requires_grad:
            if result.numel() == 1:
                self.losses.append(float(result.detach()))
            self.site = users_site()

    def backward_started(self, backward: Backward) -> None:
        self._compare()
        if backward.graph is None:
            return
        if len(backward.roots) == 1 and backward.roots[0].numel() == 1:
            self.roots.append(float(backward.roots[0].detach()))
        for root in backward.roots:
            signs = self._signs(root)
            self.negative += -1.0 in signs
            self.positive += 1.0 in signs
            if -1.0 in signs:
                self.negated_at = backward.site

    def backward_ended(self, backward: Backward) -> None:
        if backward.graph is None or not backward.accumulates:
            return
        for key, leaf in list(backward.graph.leaves.items())[: self.LOOKED_AT]:
            if leaf.grad is not None and not leaf.grad.is_sparse and leaf.numel() < 1 << 20:
                self.last[key] = (leaf, leaf.detach().clone(), leaf.grad.detach().clone())
        self.stepped = False

    def step_started(self, seen: SeenOptimizer, optimizer: Optimizer) -> None:
        self.stepped = True
        if any(group.get("maximize") for group in optimizer.param_groups):
            self.maximized = seen.made

    def _compare(self) -> None:
        """Which way weights were moved by hand, along their gradients or against them."""
        if not self.stepped:
            for leaf, before, gradient in self.last.values():
                moved = float(((leaf.detach() - before) * gradient).sum())
                self.up += moved > 0
                self.down += moved < 0
        self.last.clear()

    def _signs(self, root: Tensor) -> set[float]:
        """The signs of torch's losses in the sum that a backward pass starts from."""
        found, waiting = set[float](), [(root.grad_fn, 1.0)]
        for _ in range(50):
            if not waiting:
                break
            node, sign = waiting.pop()
            if node is None:
                continue
            name = type(node).__name__
            if name.startswith(self.ENDS):
                found.add(sign)
                continue
            if not name.startswith(self.SUMS) or not is_scalar(node):
                continue
            after = [n for n, _ in node.next_functions]
            if name.startswith(("NegBackward", "RsubBackward")):
                sign = -sign
            elif name.startswith(("MulBackward", "DivBackward")):
                other = getattr(node, "_saved_other", None)
                if isinstance(other, Tensor) and other.numel() == 1 and float(other) < 0:
                    sign = -sign
            signs = [sign, -sign if name.startswith("SubBackward") else sign]
            waiting += zip(after, [*signs, *[sign] * len(after)], strict=False)
        return found

    def found(self) -> Finding | None:
        named = self.MAXIMIZED.search(source_of(self.loop.backward_site))
        if named and len(self.roots) >= REPEATED and self.roots[-1] < self.roots[0]:
            return self._minimized(named[1])
        losses = [x for x in self.losses if x == x]  # noqa: PLR0124  not nan
        if len(losses) < 2 * REPEATED:
            return None
        tenth = max(len(losses) // 10, 2)
        start, end = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
        if not end > self.GROWN * start:
            return None
        by_hand = self.up >= REPEATED and self.up > 3 * self.down
        negated = self.negative >= REPEATED and not self.positive
        if self.maximized is None and not by_hand and not negated:
            return None
        if self.maximized is not None and negated:
            return None  # twice is right
        site = self.negated_at if negated else self.maximized
        if by_hand:
            site, how = self._update_site(), "the weights are moved along their gradients"
            remedy = "subtract: weight -= lr * weight.grad"
        elif negated:
            how = f"{quoted(site, 'the backward pass')}, starts from the loss with a minus"
            remedy = "take the minus out: the loss itself is what an optimizer makes smaller"
        else:
            how = f"the optimizer of {quoted(site)}, has maximize=True"
            remedy = "take maximize=True out"
        return self.finding(
            site or self.site,
            f"the loss of {quoted(self.site, 'the loss')}, grew from {start:.3g} to {end:.3g}: "
            f"{how}.",
            remedy,
            {"loss at the start": start, "loss at the end": end},
            quantity="loss",
        )

    def _minimized(self, name: str) -> Finding:
        """Of a likelihood, or what else is to grow by its name."""
        site = self.loop.backward_site
        return self.finding(
            site,
            f"{quoted(site)}, makes {name} smaller, from {self.roots[0]:.3g} to "
            f"{self.roots[-1]:.3g}: an optimizer goes down, and this is to be made large by its "
            f"name.",
            f"start from its negative: (-{name}).backward()",
            {"at the start": self.roots[0], "at the end": self.roots[-1]},
            quantity="loss",
        )

    def _update_site(self) -> Site | None:
        """The line of an update by hand, in the file of the backward pass."""
        site = self.loop.backward_site
        if site is None:
            return None
        lines = _lines(site.file)
        for k, text in enumerate(lines, 1):
            if re.search(r"\+=.*\.grad|\.add_\(.*\.grad|\+ .*\.grad", text):
                return Site(site.file, k, site.function)
        return site


def is_scalar(node: Any) -> bool:
    """Whether a node of the graph made one number."""
    made = getattr(node, "_input_metadata", None)
    return not made or all(math.prod(part.shape) == 1 for part in made)


def _lines(file: str) -> list[str]:
    return linecache.getlines(file)


class _Alive:
    """Lives as long as the node of the graph that holds it."""

    __slots__ = ("__weakref__",)


class GraphKept(Rule):
    """Losses or outputs of earlier steps are kept with their graphs, and memory grows."""

    cause = "graph-kept"
    stage = Stage.LOSS
    KEPT = 20  # graphs of earlier steps; a window of a few is meant
    OUTPUTS = 10  # kept from at least PHASES times; one evaluation's are let go before the next
    PHASES = 3
    EVERY = 10
    KEY = "torchmlp.watching"
    only_close = frozenset({"backward_started"})

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        # Graphs that backward passes went through, and outputs of models: when they were made.
        self.alive: list[tuple[int, weakref.ref[_Alive]]] = []
        self.outputs: list[tuple[int, weakref.ref[_Alive], Site | None]] = []
        self.most = 0
        self.site: Site | None = None
        self.at = 0

    def _mark(self, tensor: Any) -> "weakref.ref[_Alive] | None":
        node = tensor.grad_fn if isinstance(tensor, Tensor) else None
        if node is None:
            return None
        token = _Alive()
        node.metadata[self.KEY] = token  # type: ignore[index]  # a property, declared as a method
        return weakref.ref(token)

    def model_called(self, call: Call) -> None:
        if call.module.training and not self.loop.is_close:
            return  # what is kept of the training is seen by then
        ref = self._mark(call.output)
        if ref is not None:
            self.outputs.append((self.loop.backwards, ref, call.site))
            if len(self.outputs) % self.EVERY == 0:
                self.outputs = [entry for entry in self.outputs if entry[1]() is not None]

    def backward_started(self, backward: Backward) -> None:
        for root in backward.roots[:1]:
            ref = self._mark(root)
            if ref is not None:
                self.alive.append((self.loop.backwards, ref))
        if self.loop.backwards % self.EVERY == 0:
            self.alive = [(k, ref) for k, ref in self.alive if ref() is not None]
            count = sum(k < self.loop.backwards - 2 for k, _ in self.alive)
            if count > self.most:
                self.most = count
                if count >= self.KEPT and not self.at:
                    self.at = self.loop.backwards
                    self.site = self._holder(backward)

    def _holder(self, backward: Backward) -> Site | None:
        """The line that adds the loss to a sum or a list, in the file of the backward pass."""
        site = backward.site
        if site is None:
            return None
        name = re.search(r"([\w.\[\]]+)\.backward\(", source_of(site))
        loss = re.escape(name[1]) if name else r"\w*loss\w*"
        patterns = (
            rf"\w\s*\+=\s*[^#]*\b{loss}(?!\.item|\.detach|\.data|\w|\()",
            rf"\w\s*=\s*\w[\w.]*\s*\+\s*{loss}(?!\.item|\.detach|\.data|\w|\()",
            rf"\.append\([^#]*\b{loss}(?!\.item|\.detach|\.data|\w|\()",
        )
        for pattern in patterns:
            for k, text in enumerate(_lines(site.file), 1):
                if re.search(pattern, text):
                    return Site(site.file, k, site.function)
        return site

    def found(self) -> Finding | None:
        # The graphs grow with the steps; a loop that keeps a window of them lets others go.
        most = self.most if self.most >= min(self.loop.backwards, CLOSE) / 10 else 0
        site, what = self.site, "a loss is"
        if most < self.KEPT:
            kept = [(k, at) for k, ref, at in self.outputs if ref() is not None]
            most, site, what = len(kept), kept[0][1] if kept else None, "losses or outputs are"
            if most < self.OUTPUTS or len({k for k, _ in kept}) < self.PHASES:
                return None
        return self.finding(
            site,
            f"the graphs of {most} earlier steps are still in memory: {what} kept as a "
            f"tensor ({quoted(site, 'in a sum or a list')}), and with it everything it was "
            f"computed from; memory grows with every step.",
            "keep the number, loss.item(), or the tensor without its graph, loss.detach(); "
            "evaluate under torch.no_grad()",
            {"graphs in memory": most, "backward passes": self.loop.backwards},
            quantity="loss",
            step=self.at,
        )
