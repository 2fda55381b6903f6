"""Training and evaluation mode: trained in one, tested in the other, or dropout in both."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, describe, is_noisy, quoted
from torchmlp.watching.seen.loop import Backward, Call, Graph, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site, users_site

REPEATED = 3
SAME_INPUT = 3  # calls on one input one after the other: an average over dropout, on purpose
RARE = 0.34  # evaluations per step; what happens in every step belongs to the training


class TrainedInEvaluationMode(Rule):
    """A model with dropout or batch statistics is trained as it should be tested."""

    cause = "wrong-mode"
    stage = Stage.MODEL

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.set: weakref.WeakKeyDictionary[nn.Module, tuple[bool, Site | None]] = (
            weakref.WeakKeyDictionary()
        )
        self.noisy: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()
        self.pending: list[nn.Module] = []
        self.trained: Counter[int] = Counter()
        # By model: its class and noisy layers, steps, the first of them, where.
        self.in_evaluation: dict[int, tuple[tuple[str, str], int, int, Site | None]] = {}
        self.where: dict[int, Site] = {}

    def mode_set(self, module: nn.Module, mode: bool, site: Site | None) -> None:
        self.set[module] = (mode, site)

    def is_noisy(self, module: nn.Module) -> bool:
        if module not in self.noisy:
            self.noisy[module] = is_noisy(module)
        return self.noisy[module]

    def backward_started(self, backward: Backward) -> None:
        self.pending = [
            call.module
            for call in backward.calls
            if call.tracks_gradients and self.is_noisy(call.module)
        ]

    def step_ended(self, seen: SeenOptimizer, _optimizer: Optimizer) -> None:
        if not self.pending:
            return
        updated = {id(p) for p in seen.parameters}
        for module in {id(m): m for m in self.pending}.values():
            own = next(module.parameters(), None)
            if own is None or id(own) not in updated:
                continue
            self.trained[id(module)] += 1
            # Layers that were put into evaluation mode by themselves are meant to be in it.
            if not module.training and not any(m.training for m in module.modules()):
                named, times, first, site = self.in_evaluation.get(
                    id(module),
                    (_named(module), 0, self.loop.steps, self.loop.backward_site),
                )
                self.in_evaluation[id(module)] = (named, times + 1, first, site)
                mode, where = self.set.get(module, (True, None))
                if not mode and where is not None:
                    self.where[id(module)] = where
        self.pending = []

    def found(self) -> Finding | None:
        for key, ((name, layers), times, first, site) in self.in_evaluation.items():
            if times < REPEATED or times < self.trained[key] / 10:
                continue
            where = self.where.get(key)
            return self.finding(
                where or site,
                f"{times} of {self.trained[key]} steps trained {name} in evaluation mode"
                f"{f', which {quoted(where)}, sets' if where else ''}: its {layers} did what they "
                f"do in a test.",
                "call model.train() at the start of every epoch, after each evaluation",
                {"steps": self.trained[key], "in evaluation mode": times},
                quantity="a",
                step=first,
            )
        return None


def _named(module: nn.Module) -> tuple[str, str]:
    """The class of a model, and its layers that train and test differently."""
    return describe(module), _noisy_layers(module)


class TestedInTrainingMode(Rule):
    """A model with dropout or batch statistics is tested as it should be trained."""

    cause = "wrong-mode"
    stage = Stage.EVALUATION
    only_close = frozenset({"backward_started"})

    def __init__(self, loop: Loop, training: TrainedInEvaluationMode) -> None:
        super().__init__(loop)
        self.training = training
        # By line: the model, its class and layers, whether it is ever tested right, how often.
        self.tested: dict[Site, tuple[int, tuple[str, str], int, int]] = {}
        self.meant: set[Site] = set()
        self.last: tuple[int, tuple[int, ...], int] = (0, (), 0)
        self.open: list[Call] = []
        self.evaluated: set[int] = set()

    def model_called(self, call: Call) -> None:
        module = call.module
        if not module.training:
            self.evaluated.add(id(module))
            return
        if call.site is None or not self.training.is_noisy(module):
            return
        key = (id(module), tuple(id(a) for a in call.args))
        repeats = self.last[2] + 1 if self.last[:2] == key else 1
        self.last = (*key, repeats)
        if repeats >= SAME_INPUT:
            self.meant.add(call.site)
        if self.loop.is_close and call.tracks_gradients:
            self.open.append(call)
        elif not call.tracks_gradients:
            self._note(call)

    def _note(self, call: Call) -> None:
        assert call.site is not None
        module = call.module
        new = (id(module), _named(module), 0, self.loop.steps)
        key, named, times, first = self.tested.get(call.site, new)
        self.tested[call.site] = (key, named, times + 1, first)

    def backward_started(self, backward: Backward) -> None:
        self._settle(backward.graph, backward)

    def _settle(self, graph: Graph | None, backward: Backward | None) -> None:
        """Calls with a graph that no backward pass went through were tests."""
        waiting, self.open = self.open, []
        if backward is not None and (graph is None or not graph.is_whole):
            if len(waiting) < 2:  # noqa: PLR2004  the call that is trained
                return
            graph = Graph(backward.roots)
        for call in waiting:
            output = call.output
            if not isinstance(output, Tensor) or output.grad_fn is None:
                continue
            if graph is None or id(output.grad_fn) not in graph.nodes:
                self._note(call)

    def found(self) -> Finding | None:
        self._settle(None, None)
        for site, (key, (name, layers), times, first) in self.tested.items():
            steps = self.training.trained[key]
            if site in self.meant or not steps or times > RARE * steps:
                continue
            return self.finding(
                site,
                f"{name} is tested in training mode at {quoted(site)}: its {layers} do what is "
                f"meant for training, so that the score is of another network and changes with "
                f"the batch.",
                "call model.eval() before the evaluation and model.train() after it",
                {"tests": times, "steps": steps},
                quantity="a",
                step=first,
                # A model that is tested in evaluation mode elsewhere may be tested in both.
                certain=key not in self.evaluated,
            )
        return None


class DropoutInEvaluation(Rule):
    """Dropout by a function that is not told when the model is tested."""

    cause = "wrong-mode"
    stage = Stage.EVALUATION
    DROPOUTS = frozenset(
        {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
        | {"scaled_dot_product_attention"}  # its rate is not told the mode at all
    )
    functions = DROPOUTS

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.seen: dict[Site, tuple[str, int]] = {}
        self.model: nn.Module | None = None
        self.meant = False
        self.last: tuple[int, tuple[int, ...], int] = (0, (), 0)

    def model_called(self, call: Call) -> None:
        key = (id(call.module), tuple(id(a) for a in call.args))
        repeats = self.last[2] + 1 if self.last[:2] == key else 1
        self.last = (*key, repeats)
        self.meant = self.meant or (repeats >= SAME_INPUT and not call.module.training)

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        del result
        if name not in self.DROPOUTS or not stack or stack[0].training:
            return
        # A layer of the model's that was put into training mode by itself is meant to be in it.
        if stack[-1].training and any(m is stack[-1] for m in stack[0].modules()):
            return
        if name == "scaled_dot_product_attention":
            rate = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)  # noqa: PLR2004  q, k, v, mask, rate
            args, kwargs = (), {}
        else:
            rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", args[2] if len(args) > 2 else True)  # noqa: PLR2004  x, p, training
        site = users_site()
        if training and rate and site is not None:
            self.seen[site] = (name, self.seen.get(site, (name, 0))[1] + 1)
            self.model = stack[0]

    def found(self) -> Finding | None:
        if self.meant or self.model is None:
            return None
        for site, (name, times) in self.seen.items():
            return self.finding(
                site,
                f"{quoted(site)}, drops units while {describe(self.model)} is in evaluation mode: "
                f"the function does not know the model's mode unless it is told.",
                "dropout_p=self.dropout if self.training else 0.0"
                if name == "scaled_dot_product_attention"
                else f"F.{name}(x, p, training=self.training), or a layer nn.Dropout(p) instead",
                {"calls in evaluation mode": times},
                quantity="a",
                step=self.loop.steps,
            )
        return None


def _noisy_layers(module: nn.Module) -> str:
    names = {type(m).__name__ for m in module.modules() if is_noisy(m) and not list(m.children())}
    return " and ".join(sorted(names)[:2]) + (" layers" if names else "layers")
