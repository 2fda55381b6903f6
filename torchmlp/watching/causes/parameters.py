"""Parameters that do not learn: no optimizer has them, they are frozen, or the graph is cut."""

import weakref
from typing import Any

from torch import Tensor, nn

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import (
    Rule,
    Stage,
    describe,
    has_values,
    name_in,
    owner_of,
    quoted,
)
from torchmlp.watching.seen.loop import Backward, Call, Graph, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site, users_site

SEEN = 3  # whole graphs; a head that is used now and then is missing in some
MATRIX = 2  # axes of a weight
MOST_GIVEN = 10_000  # parameters that are remembered as trained


class Reached:
    """What the backward passes reached, and what was called; read by the rules of this file.

    Attributes:
        graphs: whole graphs that were read.
        leaves: the tensors they reached: how often, and how often in no optimizer's hands.
        site: of the last backward pass.
        inputs: what models were given.
        given: parameters whose values were loaded or trained before.
        loose: backward passes whose end depends on no parameter, though a model was called.
        last: the model that was called last before the last backward pass.
    """

    only_close = frozenset({"backward_started", "model_called", "step_ended"})
    # What makes a tensor that a gradient can be had of, and what asks for one or forbids it.
    functions = frozenset(
        {"rand", "randn", "zeros", "ones", "full", "empty", "tensor", "normal", "eye", "linspace"}
        | {"randn_like", "zeros_like", "ones_like", "rand_like", "from_numpy"}
        | {"requires_grad_", "requires_grad="}
    )

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.graphs = 0
        self.leaves: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._called: dict[int, tuple[Any, Any, int]] = {}
        self.site: Site | None = None
        self.inputs: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self.asked: dict[int, tuple[Any, Site | None]] = {}
        self.forbidden: dict[int, tuple[Any, Site | None]] = {}
        self.given: set[int] = set()
        self.trained: dict[int, Any] = {}
        self.loose = 0
        self.last: weakref.ref[nn.Module] | None = None

    def model_called(self, call: Call) -> None:
        for value in call.args:
            if isinstance(value, Tensor):
                self.inputs[id(value)] = value
        if call.tracks_gradients and id(call.module) not in self.trained:
            self.trained[id(call.module)] = weakref.ref(call.module)

    def function_called(
        self, _name: str, args: Any, kwargs: Any, result: Any, _stack: list[nn.Module]
    ) -> None:
        if not isinstance(result, Tensor) and args and isinstance(args[0], Tensor):
            result = args[0]  # requires_grad = True returns nothing
        if not isinstance(result, Tensor) or not result.is_leaf:
            return
        if _name.startswith("requires_grad") and not result.requires_grad:
            self.forbidden[id(result)] = (weakref.ref(result), users_site())
        elif result.requires_grad and (kwargs or _name.startswith("requires_grad")):
            self.asked[id(result)] = (weakref.ref(result), users_site())

    def loaded(self, module: nn.Module, _site: Site | None) -> None:
        self.given |= {id(p) for p in module.parameters()}

    def step_ended(self, seen: SeenOptimizer, _optimizer: Any) -> None:
        if len(self.given) < MOST_GIVEN and self.graphs <= SEEN:
            self.given |= {id(p) for p in seen.parameters if p.grad is not None}

    def backward_started(self, backward: Backward) -> None:
        """Take a backward pass in."""
        if backward.graph is None or not backward.graph.is_whole:
            return
        models = [c.module for c in backward.calls if c.tracks_gradients]
        models = [m for m in models if next(m.parameters(), None) is not None]
        self.last = weakref.ref(models[-1]) if models else None
        leaves = backward.graph.leaves.values()
        self.loose += bool(models) and not any(isinstance(p, nn.Parameter) for p in leaves)
        self.graphs += 1
        self.site = backward.site
        updated = {id(p) for seen in self.loop.optimizers for p in seen.parameters}
        for key, leaf in backward.graph.leaves.items():
            ref, times, left_out = self.leaves.get(key, (weakref.ref(leaf), 0, 0))
            if ref() is not leaf:
                ref, times, left_out = weakref.ref(leaf), 0, 0
            self.leaves[key] = (ref, times + 1, left_out + (key not in updated))
        calls = {
            id(module): (module, call.module)
            for call in backward.calls
            if call.tracks_gradients
            for module in (call.module, *call.inner)
        }
        for key, (module, model) in calls.items():
            known = self._called.get(key)
            times = known[2] if known is not None and known[0]() is module else 0
            self._called[key] = (weakref.ref(module), weakref.ref(model), times + 1)

    @property
    def called(self) -> list[tuple[nn.Module, nn.Module, int]]:
        """Modules that were called while autograd was recording, and are still there.

        Each with the model it was called in, and in how many graphs' turns.
        """
        live = [(module(), model(), times) for module, model, times in self._called.values()]
        return [entry for entry in live if entry[0] is not None and entry[1] is not None]

    @staticmethod
    def _where(known: dict[int, tuple[Any, Site | None]], tensor: Tensor) -> Site | None:
        ref, site = known.get(id(tensor), (lambda: None, None))
        return site if ref() is tensor else None

    def asked_at(self, tensor: Tensor) -> Site | None:
        """Where a tensor was made to require a gradient."""
        return self._where(self.asked, tensor)

    def forbidden_at(self, tensor: Tensor) -> Site | None:
        """Where a parameter was frozen."""
        return self._where(self.forbidden, tensor)

    def trained_models(self) -> list[nn.Module]:
        """Models that were called while autograd was recording, and are still there."""
        models = [ref() for ref in self.trained.values()]
        return [m for m in models if m is not None and next(m.parameters(), None) is not None]

    def models(self) -> list[nn.Module]:
        """The modules with parameters that the loop itself called, those that trained first."""
        found = {id(model): model for _, model, _ in self.called}
        return [m for m in found.values() if next(m.parameters(), None) is not None]


class _OfParameters(Rule):
    stage = Stage.MODEL

    def __init__(self, loop: Loop, reached: Reached) -> None:
        super().__init__(loop)
        self.reached = reached
        self._found: Finding | None = None
        self._part = 0

    def judged(self) -> Finding | None:
        """The finding as it stands now."""
        raise NotImplementedError

    def backward_ended(self, backward: Backward) -> None:
        """Judge while the models are there: a function that trains lets them go at its end."""
        if backward.graph is None:
            return
        now = self.judged()
        if now is not None or self._part == self.loop.part:
            self._found, self._part = now, self.loop.part

    def found(self) -> Finding | None:
        return self._found

    def stepping(self) -> list[SeenOptimizer]:
        return [seen for seen in self.loop.optimizers if seen.steps and seen.ref() is not None]

    def updated(self) -> set[int]:
        return {id(p) for seen in self.loop.optimizers for p in seen.parameters}


class ParametersNotOptimized(_OfParameters):
    """The loss depends on tensors that no optimizer updates, and not by anybody's choice."""

    cause = "parameters-not-optimized"
    explains = ("no-backward", "no-gradient", "cleared-before-step")

    def judged(self) -> Finding | None:
        reached, stepping = self.reached, self.stepping()
        if not stepping or reached.graphs < SEEN:
            return None
        updated = self.updated()
        left_out = [
            leaf
            for key, (ref, _, count) in reached.leaves.items()
            if key not in updated
            and count >= SEEN
            and (leaf := ref()) is not None
            and leaf.grad is not None
        ]
        if not left_out:
            return None
        for seen in reversed(stepping):
            found = (
                self._another_models(seen, left_out)
                or self._replaced(seen, left_out)
                or self._unregistered(seen, left_out)
                or self._forgotten(seen, left_out)
            )
            if found:
                return found
        return None

    def _another_models(self, seen: SeenOptimizer, left_out: list[Tensor]) -> Finding | None:
        """The optimizer's own parameters are reached by no backward pass."""
        own = seen.parameters
        if any(id(p) in self.reached.leaves for p in own) or not any(p.requires_grad for p in own):
            return None
        model = self._model_of(left_out)
        name = describe(model) if model else "the model"
        at = quoted(seen.made, "where it was made")
        optimizer = owner_of(seen.stepped, "step", "optimizer")
        where = self.loop.made(model or left_out[0])[0]
        made = f", which was made at {quoted(where)}" if where else ""
        return self.finding(
            seen.made,
            f"the {seen.start[0]} of {at}, has {len(own)} parameters, and no backward pass has "
            f"reached any of them; those of the {name} that is trained{made}, are in no optimizer.",
            f"make {optimizer} from the model that is trained, after it is made: move {at}, or "
            f"write model.parameters() of that one there",
            {"parameters of the optimizer": len(own), "of those reached": 0},
            quantity="weight",
        )

    def _replaced(self, seen: SeenOptimizer, left_out: list[Tensor]) -> Finding | None:
        later = [leaf for leaf in left_out if self.loop.made(leaf)[1] > seen.order]
        later = [leaf for leaf in later if self._model_of([leaf])]
        if not later:
            return None
        site = self.loop.made(later[0])[0]
        model = self._model_of(later)
        names = ", ".join(name_in(model, leaf) for leaf in later[:4])
        at = quoted(seen.made, "where the optimizer is made")
        return self.finding(
            site,
            f"{names} {'was' if len(later) == 1 else 'were'} made at {quoted(site)}, after the "
            f"optimizer ({at}): it does not have them, and they stay what they are.",
            f"make the optimizer after {quoted(site)}, or add them to it: "
            f'{owner_of(seen.stepped, "step", "optimizer")}.add_param_group({{"params": ...}})',
            {"parameters left out": len(later)},
            quantity="weight",
        )

    def _forgotten(self, seen: SeenOptimizer, left_out: list[Tensor]) -> Finding | None:
        """A whole model between an optimized one and the loss, that was never given its weights."""
        model = self.reached.last() if self.reached.last else None
        own = {id(p) for p in model.parameters()} if model is not None else set()
        if model is None or not own or own & self.updated() or own & self.reached.given:
            return None
        if not own <= {id(leaf) for leaf in left_out}:
            return None
        at = quoted(seen.made, "where the optimizer is made")
        return self.finding(
            seen.made,
            f"the loss is computed from {describe(model)}, whose {len(own)} parameters no "
            f"optimizer has ({at}): it stays as it was drawn.",
            f"hand both to the optimizer: [*first.parameters(), *second.parameters()] at {at}",
            {"parameters left out": len(own)},
            quantity="weight",
        )

    def _unregistered(self, seen: SeenOptimizer, left_out: list[Tensor]) -> Finding | None:
        registered = {id(p) for model in self.reached.models() for p in model.parameters()}
        loose = [leaf for leaf in left_out if id(leaf) not in registered]
        held = {id(p): m for m, _, _ in self.reached.called for p in m.parameters()}
        in_modules = [leaf for leaf in loose if id(leaf) in held]
        if in_modules:
            module = held[id(in_modules[0])]
            model = next(m for inner, m, _ in self.reached.called if inner is module)
            site = self.loop.made(module)[0]
            count = len({id(held[id(leaf)]) for leaf in in_modules})
            layers = f"{count} layer{'s' * (count > 1)}"
            return self.finding(
                site,
                f"{layers} of {describe(model)}, a {describe(module)} first, "
                f"{'are' if count > 1 else 'is'} called in its forward but not registered in it "
                f"(made at {quoted(site, 'a place that is not known')}): a plain list or dict "
                f"hides {'them' if count > 1 else 'it'} from parameters(), so no optimizer has "
                f"the weights.",
                "hold the layers in nn.ModuleList([...]) (or nn.ModuleDict, nn.Sequential) "
                "instead of a plain list or dict",
                {"layers": count, "parameters left out": len(in_modules)},
                quantity="weight",
            )
        # What is no module's: a tensor made with requires_grad, that a module or the loop keeps.
        loose = [leaf for leaf in loose if not self._is_data(leaf)]
        if not loose or not any(id(p) in self.reached.leaves for p in seen.parameters):
            return None
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in loose[:4])
        return self.finding(
            self.reached.asked_at(loose[0]) or seen.made,
            f"the loss depends on {len(loose)} tensor{'s' * (len(loose) > 1)} with "
            f"requires_grad ({shapes}) that no optimizer has: a plain tensor is no parameter of "
            f"a module, so that model.parameters() leaves it out.",
            "make it a parameter, self.weight = nn.Parameter(tensor), or hand it to the optimizer "
            "by itself",
            {"tensors left out": len(loose)},
            quantity="weight",
        )

    def _is_data(self, leaf: Tensor) -> bool:
        """Whether a leaf goes into a model rather than being a part of it."""
        return self.reached.inputs.get(id(leaf)) is leaf

    def _model_of(self, leaves: list[Tensor]) -> nn.Module | None:
        for model in self.reached.models():
            own = {id(p) for p in model.parameters()}
            if any(id(leaf) in own for leaf in leaves):
                return model
        return None


class FrozenParameters(_OfParameters):
    """No weight of a model that is trained requires a gradient."""

    cause = "frozen-parameters"
    only_close = frozenset({"backward_started"})

    def __init__(self, loop: Loop, reached: Reached) -> None:
        super().__init__(loop, reached)
        # By model: it, the weights that were frozen, how often, in the optimizer's hands or not.
        self.seen: dict[int, tuple[weakref.ref[nn.Module], list[Tensor], int]] = {}

    def backward_started(self, backward: Backward) -> None:
        if backward.graph is None:
            return
        for model in {
            id(c.module): c.module for c in backward.calls if c.tracks_gradients
        }.values():
            own: list[Tensor] = list(model.parameters())
            frozen = [p for p in own if p.ndim >= MATRIX and not p.requires_grad]
            if frozen and any(id(p) in backward.graph.leaves for p in own):
                ref, _, times = self.seen.get(id(model), (weakref.ref(model), [], 0))
                self.seen[id(model)] = (ref, frozen, times + 1)

    def found(self) -> Finding | None:
        if self.loop.failed_backward:
            for model in self.reached.trained_models():
                if not any(p.requires_grad for p in model.parameters()):
                    frozen: list[Tensor] = [p for p in model.parameters() if p.ndim >= MATRIX]
                    return self._of(model, frozen, frozen) if frozen else None
        return self._found

    def judged(self) -> Finding | None:
        for ref, frozen, times in self.seen.values():
            model = ref()
            if model is None:
                continue
            weights: list[Tensor] = [p for p in model.parameters() if p.ndim >= MATRIX]
            # A part that was loaded or trained before is frozen on purpose.
            fresh = [p for p in frozen if id(p) not in self.reached.given]
            if times >= SEEN and (len(frozen) == len(weights) or fresh):
                return self._of(model, weights, frozen if len(frozen) == len(weights) else fresh)
        return None

    def _of(self, model: nn.Module, weights: list[Tensor], frozen: list[Tensor]) -> Finding:
        site = self.reached.forbidden_at(frozen[0])
        names = ", ".join(name_in(model, p) for p in frozen[:4])
        one = len(frozen) == 1
        return self.finding(
            site or self.reached.site or self.loop.backward_site,
            f"{len(frozen)} of the {len(weights)} weight matrices of {describe(model)} "
            f"{'does' if one else 'do'} not require a gradient"
            f"{f', by {quoted(site)}' if site else ''}: {names} "
            f"{'stays' if one else 'stay'} what {'it was' if one else 'they were'}.",
            "leave requires_grad of the weights that are to be trained, before the optimizer is "
            "made: weight.requires_grad_(True)",
            {"weights": len(weights), "frozen": len(frozen)},
            quantity="weight",
            certain=len(frozen) == len(weights),
        )


class NoGradient(_OfParameters):
    """A layer is called and its optimizer has it, but no backward pass reaches it."""

    cause = "no-gradient"
    stage = Stage.MODEL
    explains = ("no-backward", "cleared-before-step", "step-before-backward")
    only_close = frozenset({"backward_ended"})
    FLAT = frozenset({"round", "round_", "sign", "floor", "ceil", "trunc"})  # derivative zero
    CUTS = frozenset(
        {"detach", "detach_", "numpy", "data", "tolist", "item", "as_tensor", "tensor"}
    )
    STEPS = frozenset(
        {"argmax", "argmin", "round", "round_", "sign", "floor", "ceil", "gt", "lt", "ge", "le"}
        | {"__gt__", "__lt__", "__ge__", "__le__", "topk", "one_hot", "long", "int", "bool"}
    )
    functions = CUTS | STEPS | FLAT

    def __init__(self, loop: Loop, reached: Reached) -> None:
        super().__init__(loop, reached)
        # By line: the function, the tensors that its input depends on, whether in a module.
        self.cuts: dict[Site, tuple[str, frozenset[int], bool]] = {}
        self.flat: dict[Site, str] = {}
        self.zero = self.nonzero = 0

    def function_called(
        self, name: str, args: Any, _kwargs: Any, result: Any, stack: list[nn.Module]
    ) -> None:
        tensor = args[0] if args else None
        if name not in self.functions or not isinstance(tensor, Tensor) or not tensor.requires_grad:
            return
        if isinstance(result, Tensor) and result.requires_grad and name != "tensor":
            site = users_site()
            if name in self.FLAT and site is not None:
                self.flat[site] = name
            return
        site = users_site()
        if site is not None and site not in self.cuts:
            self.cuts[site] = (name, frozenset(Graph([tensor]).leaves), bool(stack))

    def backward_ended(self, backward: Backward) -> None:
        if backward.graph is not None and self.flat and backward.accumulates:
            self._look_for_zeros(backward.graph)
        super().backward_ended(backward)

    def _look_for_zeros(self, graph: Graph) -> None:
        gradients = [leaf.grad for leaf in graph.leaves.values()]
        is_zero = not any(has_values(gradient) for gradient in gradients)
        self.zero, self.nonzero = self.zero + is_zero, self.nonzero + (not is_zero)

    def found(self) -> Finding | None:
        return self._found or self._root_without_graph()

    def judged(self) -> Finding | None:
        reached = self.reached
        root = self._root_without_graph() or self._flat()
        if root:
            return root
        if reached.graphs < SEEN:
            return None
        updated = self.updated()
        lost = [
            (module, model)
            for module, model, times in reached.called
            if times >= SEEN
            and (own := [p for p in module.parameters(recurse=False) if p.requires_grad])
            and all(id(p) in updated for p in own)
            and not any(id(p) in reached.leaves for p in own)
        ]
        # A model of which nothing is reached is not what this loop trains.
        lost = [(m, model) for m, model in lost if self._is_trained(model)]
        if not lost:
            return None
        module, model = lost[0]
        parameters = {id(p) for lost_module, _ in lost for p in lost_module.parameters()}
        site, name = self._cut(parameters)
        if site is None and id(module) in self.loop.unrecorded:
            site, name = self.loop.unrecorded[id(module)], "no_grad"
        names = ", ".join(_module_name(model, m) for m, _ in lost[:4])
        why = f": {quoted(site)}, cuts the graph" if site else ""
        return self.finding(
            site or self.loop.made(module)[0] or reached.site,
            f"no gradient reaches {names} of {describe(model)} in {reached.graphs} backward "
            f"passes, though {'it is' if len(lost) == 1 else 'they are'} called{why}.",
            _instead_of(name),
            {"backward passes": reached.graphs, "layers without gradient": len(lost)},
            layer=None,
        )

    def _flat(self) -> Finding | None:
        """Everything goes through a function of steps, whose derivative is zero."""
        if self.zero < SEEN or self.nonzero:
            return None
        site, name = next(iter(self.flat.items()))
        return self.finding(
            site,
            f"all gradients are exactly zero in {self.zero} backward passes: {quoted(site)}, is "
            f"flat between its steps.",
            _instead_of(name),
            {"backward passes": self.zero, "with a gradient": 0},
        )

    def _is_trained(self, model: nn.Module) -> bool:
        return any(id(p) in self.reached.leaves for p in model.parameters())

    def _root_without_graph(self) -> Finding | None:
        """The loss itself is a new tensor: torch.tensor(loss, requires_grad=True)."""
        loose = self.reached.loose
        if loose < SEEN and not self.loop.failed_backward:
            return None
        site = self.loop.backward_site
        model = next(iter(self.reached.trained_models()), None)
        frozen = model is not None and not any(p.requires_grad for p in model.parameters())
        if model is None or frozen:
            return None
        parameters = {id(p) for p in model.parameters()}
        cut, name = self._cut(parameters)
        why = f": {quoted(cut)}, makes a tensor without the graph" if cut else ""
        return self.finding(
            cut or site,
            f"the loss of {quoted(site, 'the backward pass')}, depends on no parameter of "
            f"{describe(model)}{why}.",
            _instead_of(name),
            {"backward passes": self.loop.backwards},
        )

    def _cut(self, parameters: set[int]) -> tuple[Site | None, str]:
        """The line that cuts what depends on these off, the innermost module's first."""
        fitting = [
            (within, site, name)
            for site, (name, leaves, within) in self.cuts.items()
            if leaves & parameters
        ]
        for within, site, name in fitting:
            if within:
                return site, name
        # Of a loop's own lines, the last before the backward pass: others are its reports.
        back = self.loop.backward_site
        near = [
            (site, name)
            for _, site, name in fitting
            if back
            and (site.file, site.function) == (back.file, back.function)
            and site.line <= back.line
        ]
        if near:
            return max(near, key=lambda pair: pair[0].line)
        return fitting[0][1:] if fitting else (None, "")


def _module_name(model: nn.Module, module: nn.Module) -> str:
    name = next((name for name, m in model.named_modules() if m is module), "")
    return name or describe(module)


def _instead_of(name: str) -> str:
    if name in NoGradient.STEPS | NoGradient.FLAT:
        return (
            f"{name.strip('_')} has no derivative: let the loss read what goes into it (logits, or "
            f"a softmax), and keep {name.strip('_')} for what is reported"
        )
    if name in {"numpy", "tolist", "item", "tensor", "as_tensor"}:
        return "compute with torch's functions on the tensor itself, without leaving the graph"
    if name == "no_grad":
        return "call the layers that are to be trained outside of torch.no_grad()"
    if name == "data":
        return "use the tensor itself instead of its .data"
    return f"take the {name or 'detach'}() out"
