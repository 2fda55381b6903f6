"""What is known of a training loop while it runs: its models, optimizers and backward passes."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.watching.seen.sites import Site

CLOSE = 100  # backward passes that are looked at function by function
AGAIN = 30  # as many more where an optimizer is made later: a new part of the training begins
MOST_AGAIN = 3000  # backward passes of those parts together
FIRST = 20  # of those, the ones whose whole graph is read; then every tenth
MOST_CALLS = 50  # between two backward passes
WHOLE_CALLS = 4  # of those, with their inputs and outputs
MOST_NODES = 50_000  # of a graph that is read


@dataclass(eq=False, slots=True)
class Call:
    """A call of a module by the loop itself, not by another module.

    Attributes:
        module: the module.
        args: what it was given, by position and then by name.
        output: what it returned.
        site: where.
        tracks_gradients: whether autograd was recording.
        number: of all such calls, from 0.
        inner: the modules that were called in it, in order, while the loop is looked at closely.
    """

    module: nn.Module
    args: tuple[Any, ...]
    output: Any
    site: Site | None
    tracks_gradients: bool
    number: int
    inner: list[nn.Module] = field(default_factory=list)

    def let_go(self) -> None:
        """Keep no batch and no graph alive that the script has let go."""
        self.args, self.output = (), None


class Graph:
    """The graph of one backward pass: what its end depends on.

    Attributes:
        nodes: by identity.
        leaves: the tensors that get a gradient, by identity.
    """

    def __init__(self, roots: list[Tensor]) -> None:
        self.nodes: dict[int, Any] = {}
        self.leaves: dict[int, Tensor] = {}
        waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
        while waiting and len(self.nodes) < MOST_NODES:
            node = waiting.pop()
            if id(node) in self.nodes:
                continue
            self.nodes[id(node)] = node
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                self.leaves[id(leaf)] = leaf
            waiting += [after for after, _ in node.next_functions if after is not None]
        self.is_whole = not waiting
        for root in roots:
            if root.grad_fn is None and root.requires_grad:
                self.leaves[id(root)] = root


@dataclass(eq=False)
class Backward:
    """A backward pass.

    Attributes:
        roots: the tensors it starts from.
        site: where it was called.
        accumulates: whether gradients are added to `.grad` (backward), not returned (grad).
        graph: read now and then, None otherwise.
        calls: the calls of modules since the last backward pass.
    """

    roots: list[Tensor]
    site: Site | None
    accumulates: bool
    graph: Graph | None
    calls: list[Call]


@dataclass(eq=False)
class SeenOptimizer:
    """An optimizer, and what it has done.

    Attributes:
        ref: to it.
        made: where it was made; None where that was before the watching.
        order: its place among all that was made.
        start: its class, and its settings when it was made, without parameters.
        handed: the identities of its parameters when it was made.
        steps: how many it has taken.
        stepped: where it was stepped last.
    """

    ref: "weakref.ref[Optimizer]"
    made: Site | None
    order: int
    start: tuple[str, list[dict[str, Any]]]
    handed: frozenset[int]
    steps: int = 0
    stepped: Site | None = None

    @property
    def parameters(self) -> list[Tensor]:
        """What it updates now."""
        optimizer = self.ref()
        groups = [] if optimizer is None else optimizer.param_groups
        return [p for group in groups for p in group["params"]]


class Loop:
    """The loop so far.

    Attributes:
        backwards: how many backward passes have begun.
        steps: how many optimizer steps were taken, by all optimizers.
        order: a clock of what was made.
        calls: the calls of modules since the last backward pass.
        optimizers: all, in the order they were made.
        part: of the training; a new one begins where an optimizer is made later.
        unrecorded: modules that a model called under no_grad while it was recorded, and where that
            begins.
        backward_site: where the last backward pass was called.
        failed_backward: whether one raised.
    """

    def __init__(self) -> None:
        self.backwards = self.steps = self.order = self.calls_made = 0
        self.calls: list[Call] = []
        self.optimizers: list[SeenOptimizer] = []
        self._of_optimizer: dict[int, SeenOptimizer] = {}
        self._made: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._sites: dict[int, tuple[Site | None, int]] = {}
        self.backward_site: Site | None = None
        self.failed_backward = False
        self._opened, self._close_until, self._again = 0, CLOSE, 0
        self.part = 0
        self.unrecorded: dict[int, Site] = {}

    @property
    def is_close(self) -> bool:
        """Whether the loop is looked at function by function."""
        return self.backwards <= self._close_until

    @property
    def is_told(self) -> bool:
        """Whether all is told: a backward pass longer, so that what was begun is ended."""
        return self.backwards <= self._close_until + 1

    @property
    def is_sampled(self) -> bool:
        """Whether what costs more is looked at in this backward pass."""
        return self.is_close and (
            self.backwards - self._opened <= FIRST or self.backwards % 10 == 0
        )

    def add_call(self, call: Call) -> None:
        """Remember a call until the next backward pass; of the last ones what it was given, too."""
        if not call.tracks_gradients:
            call.let_go()
        elif not self.is_close:
            call.output = None
        self.calls.append(call)
        if len(self.calls) > WHOLE_CALLS:
            self.calls[-WHOLE_CALLS - 1].let_go()
            del self.calls[:-MOST_CALLS]

    def look_again(self) -> None:
        """Look closely once more: a new part of the training begins."""
        if self._again < MOST_AGAIN and self.backwards:
            self._opened = self.backwards
            self._close_until = max(self._close_until, self.backwards + AGAIN)
            self._again += AGAIN
            self.part += 1

    def note_made(self, thing: Any, site: Site | None) -> None:
        """Remember where a module or parameter was made."""
        self.order += 1
        if self._made.get(id(thing)) is not thing:
            self._made[id(thing)] = thing
            self._sites[id(thing)] = (site, self.order)

    def made(self, thing: Any) -> tuple[Site | None, int]:
        """Where a module or parameter was made, and its place in the order; (None, 0) unknown."""
        known = self._made.get(id(thing)) is thing
        return self._sites[id(thing)] if known else (None, 0)

    def seen(self, optimizer: Optimizer, site: Site | None = None) -> SeenOptimizer:
        """What is known of an optimizer, which may be met for the first time."""
        found = self._of_optimizer.get(id(optimizer))
        if found is not None and found.ref() is optimizer:
            return found
        self.order += 1
        settings = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        handed = frozenset(id(p) for group in optimizer.param_groups for p in group["params"])
        start = (type(optimizer).__name__, settings)
        found = SeenOptimizer(weakref.ref(optimizer), site, self.order, start, handed)
        self._of_optimizer[id(optimizer)] = found
        self.optimizers.append(found)
        return found

    def optimizers_of(self, parameter: Tensor) -> Iterator[SeenOptimizer]:
        """Those that update a parameter."""
        for seen in self.optimizers:
            if any(p is parameter for p in seen.parameters):
                yield seen
