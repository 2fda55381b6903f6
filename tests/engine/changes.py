"""What may happen to a model, its optimizer or a batch between two steps of an engine.

Each change is a function of a `Run`. What plain torch trains on after it, the engine has to train
on alike (`FOLLOWED`); what has no step without autograd, or no meaning, it has to refuse before
anything is changed (`REFUSED`).
"""

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from torchmlp import MLP, Dense, Engine
from torchmlp.engine.state.structure import is_fusible

WIDTH, CLASSES = 6, 6  # every weight is square, so that its transpose fits too


@dataclass
class Run:
    """A model, how it is trained, and the next batch.

    Attributes:
        draw: where a change has a choice.
        kept: what a change wants to outlive it.
    """

    model: MLP
    optimizer: torch.optim.Optimizer
    engine: Engine
    x: Tensor
    target: Tensor
    draw: random.Random
    kept: list[Any] = field(default_factory=list)

    @property
    def layers(self) -> list[Any]:
        """The Dense layers, first to last."""
        return list(self.model.layers)

    @property
    def layer(self) -> Any:
        return self.draw.choice(self.layers)

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.layer.weight
        return weight


def made(*, adam: bool, native: bool | None, seed: int) -> Run:
    """A run that has taken two steps."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    model = MLP(WIDTH, [6] * draw.choice([1, 2]), CLASSES, draw.choice(["tanh", "sigmoid"]))
    model.double()  # so that roundings are nobody's excuse
    kind: Any = torch.optim.Adam if adam else torch.optim.SGD
    settings: dict[str, Any] = {} if adam else {"momentum": draw.choice([0.0, 0.9])}
    optimizer = kind(model.parameters(), lr=0.01, **settings)
    x, target = batch(draw.choice([1, 8]))
    run = Run(
        model, optimizer, Engine(model, "cross_entropy", optimizer, native=native), x, target, draw
    )
    for _ in range(2):
        run.engine.step(x, target)
    return run


def batch(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, WIDTH, dtype=torch.float64), torch.randint(CLASSES, (rows,))


class DiffersError(AssertionError):
    """The engine went another way than plain torch."""


def compare(run: Run) -> str:
    """The next step of the run, beside that of a copy under autograd.

    Returns:
        Why the engine refused the step; "" where both have trained alike.

    Raises:
        DiffersError: they have not, or a step that was refused has changed something.
    """
    is_whole = all(map(has_memory, [*tensors_of(run), run.x, run.target]))
    if is_whole:  # torch would die of copying the others
        before = bits(run)
        twin, optimizer = deepcopy((run.model, run.optimizer))
        x, target = run.x.clone(), run.target.clone()
    try:
        loss = run.engine.step(run.x, run.target)
    except (ValueError, TypeError) as error:
        if is_whole and bits(run) != before:
            raise DiffersError(f"refused, and yet something has changed: {error}") from error
        return str(error)
    if not is_whole:
        raise DiffersError("took a step over memory that is not there")
    optimizer.zero_grad()
    expected = nn.functional.cross_entropy(twin(x), target)
    expected.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    pairs = zip((loss, *run.model.parameters()), (expected, *twin.parameters()), strict=True)
    for mine, theirs in pairs:
        tolerance = 1e-9 if theirs.dtype == torch.float64 else 1e-5
        if not torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance):
            raise DiffersError(
                f"{(mine - theirs).abs().max():.2g} from autograd's ({run.engine.how})"
            )
    return ""


def tensors_of(run: Run) -> list[Tensor]:
    """All parameters, and what the optimizer keeps of them."""
    state = [v for p in run.model.parameters() for v in run.optimizer.state.get(p, {}).values()]
    return [*run.model.parameters(), *(v for v in state if isinstance(v, Tensor))]


def has_memory(tensor: Tensor) -> bool:
    if tensor._is_zerotensor() or type(tensor) not in (Tensor, nn.Parameter):
        return type(tensor) in (Tensor, nn.Parameter)
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    return (last + 1) * tensor.itemsize <= tensor.untyped_storage().nbytes()


def bits(run: Run) -> list[bytes]:
    """All their numbers."""
    return [
        t.detach().clone().contiguous().view(-1).numpy().tobytes()
        for t in tensors_of(run)
        if t.device.type == "cpu"
    ]


Change = Callable[[Run], None]
FOLLOWED: dict[str, Change] = {}
REFUSED: dict[str, tuple[Change, str]] = {}


def followed(change: Change) -> Change:
    FOLLOWED[change.__name__] = change
    return change


def refused(message: str) -> Callable[[Change], Change]:
    def keep(change: Change) -> Change:
        REFUSED[change.__name__] = (change, message)
        return change

    return keep


def fresh(like: Tensor) -> Tensor:
    return torch.randn_like(like, requires_grad=False)


def velocity(run: Run) -> Tensor:
    """A velocity or a moment that a step goes into; made where there is none.

    What an optimizer that takes its own step does with its state is torch's affair.
    """
    is_sgd = type(run.optimizer) is torch.optim.SGD
    if not (is_fusible(run.optimizer) and (is_sgd or run.engine.native is not False)):
        run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.01)
        run.engine = Engine(run.model, "cross_entropy", run.optimizer, native=run.engine.native)
    for group in run.optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = 0.9
    run.engine.step(*batch(2))
    state = [run.optimizer.state.get(p, {}) for p in run.model.parameters()]
    names = ("momentum_buffer", "exp_avg")
    found: Tensor = run.draw.choice([s[name] for s in state for name in names if name in s])
    return found


def hold_all(run: Run) -> None:
    """Give the optimizer the model's parameters, and none of those that were."""
    own = list(run.model.parameters())
    run.optimizer.param_groups[0]["params"] = own
    del run.optimizer.param_groups[1:]
    for p in [p for p in run.optimizer.state if p not in set(own)]:
        del run.optimizer.state[p]


@followed
def parameter_replaced(run: Run) -> None:
    layer = run.layer
    layer.weight = nn.Parameter(fresh(layer.weight))


@followed
def parameter_replaced_for_the_optimizer_too(run: Run) -> None:
    layer = run.layer
    layer.bias = nn.Parameter(fresh(layer.bias))
    hold_all(run)


@followed
def state_assigned(run: Run) -> None:
    state = {name: fresh(value) for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(state, assign=True)
    hold_all(run)


@followed
def state_loaded(run: Run) -> None:
    state = {name: fresh(value) for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(state)


@followed
def optimizers_state_loaded(run: Run) -> None:
    held = {p for group in run.optimizer.param_groups for p in group["params"]}
    for p in [p for p in run.optimizer.state if p not in held]:
        del run.optimizer.state[p]  # torch cannot save it
    run.optimizer.load_state_dict(deepcopy(run.optimizer.state_dict()))


@followed
def optimizers_state_cleared(run: Run) -> None:
    run.optimizer.state.clear()


@followed
def layer_replaced(run: Run) -> None:
    like = run.layers[-1].weight
    run.model.layers[-1] = Dense(like.shape[1], CLASSES, dtype=like.dtype)


@followed
def all_layers_replaced_by_wider_ones(run: Run) -> None:
    dtype = run.weight.dtype
    run.model.layers = nn.ModuleList(
        [Dense(WIDTH, 9, activation="tanh", dtype=dtype), Dense(9, CLASSES, dtype=dtype)]
    )
    hold_all(run)


@followed
def layer_added(run: Run) -> None:
    if len(run.model.layers) < 6:
        run.model.layers.append(Dense(CLASSES, CLASSES, dtype=run.weight.dtype))


@followed
def layer_removed(run: Run) -> None:
    if len(run.model.layers) > 2:
        del run.model.layers[-1]
        hold_all(run)


@followed
def activation_changed(run: Run) -> None:
    run.layer.activation = run.draw.choice(["tanh", "sigmoid", "softplus", "identity"])


@followed
def data_replaced(run: Run) -> None:
    weight = run.weight
    weight.data = fresh(weight)


@followed
def data_transposed(run: Run) -> None:
    weight = run.layers[-1].weight
    if weight.shape[0] == weight.shape[1]:
        weight.data = weight.data.t()


@followed
def data_negated(run: Run) -> None:
    weight = run.weight
    weight.data = torch._neg_view(weight.data)


@followed
def data_in_one_buffer(run: Run) -> None:
    parameters = list(run.model.parameters())
    flat = torch.cat([p.data.reshape(-1) for p in parameters])
    parts: Any = torch.split(flat, [p.numel() for p in parameters])
    for p, part in zip(parameters, parts, strict=True):
        p.data = part.view(p.shape)


@followed
def hidden_units_cut_off(run: Run) -> None:
    first, second = run.layers[:2]
    for p in (first.weight, first.bias):
        p.data = p.data[:-1]
    second.weight.data = second.weight.data[:, :-1]
    run.optimizer.state.clear()


@followed
def swapped(run: Run) -> None:
    weight = run.weight
    other = nn.Parameter(fresh(weight))
    state = run.optimizer.state.pop(weight, None)  # it is kept by the object
    torch.utils.swap_tensors(weight, other)  # type: ignore[no-untyped-call]
    if state is not None:
        run.optimizer.state[weight] = state


@followed
def gradient_replaced(run: Run) -> None:
    weight = run.weight
    weight.grad = fresh(weight)


@followed
def gradient_cut(run: Run) -> None:
    for p in run.model.parameters():
        if p.grad is not None:
            p.grad.data = torch.zeros(1, dtype=p.dtype)


@followed
def gradient_freed(run: Run) -> None:
    for p in run.model.parameters():
        if p.grad is not None:
            p.grad.untyped_storage().resize_(0)


@followed
def frozen(run: Run) -> None:
    run.weight.requires_grad_(False)


@followed
def all_melted(run: Run) -> None:
    run.model.requires_grad_(True)


@followed
def cast(run: Run) -> None:
    run.model.to(run.draw.choice([torch.float32, torch.float64]))
    run.optimizer.state.clear()  # a velocity of torch's would stay in the old dtype
    run.x = run.x.to(run.weight.dtype)


@followed
def group_split_off(run: Run) -> None:
    group = run.optimizer.param_groups[0]
    if len(group["params"]) > 1:
        run.optimizer.add_param_group({"params": [group["params"].pop()], "lr": 0.02})


@followed
def settings_changed(run: Run) -> None:
    group = run.optimizer.param_groups[0]
    group["lr"], group["weight_decay"] = 0.02, run.draw.choice([0.0, 0.1])


@followed
def momentum_changed(run: Run) -> None:
    if "momentum" in run.optimizer.param_groups[0]:
        run.optimizer.param_groups[0]["momentum"] = run.draw.choice([0.0, 0.9])


@followed
def velocity_replaced(run: Run) -> None:
    found = velocity(run)
    found.data = fresh(found)


@followed
def step_of_the_optimizer_wrapped(run: Run) -> None:
    run.optimizer.step = partial(run.optimizer.step)  # type: ignore[method-assign,assignment]


@followed
def hook_of_the_optimizer(run: Run) -> None:
    run.optimizer.register_step_pre_hook(lambda *_: None)


@followed
def other_batch_size(run: Run) -> None:
    dtype = run.x.dtype
    run.x, run.target = batch(run.draw.choice([1, 3, 8, 40]))
    run.x = run.x.to(dtype)


@followed
def threads_changed(run: Run) -> None:
    torch.set_num_threads(run.draw.choice([1, 2]))


@followed
def engine_copied(run: Run) -> None:
    run.engine = deepcopy(run.engine)
    run.model, run.optimizer = run.engine.model, run.engine.optimizer


@followed
def input_negated(run: Run) -> None:
    run.x = torch._neg_view(run.x)


@followed
def input_spread(run: Run) -> None:
    run.x = torch.stack([run.x, run.x], -1)[..., 0]


@followed
def input_repeated(run: Run) -> None:
    run.x = run.x[:1].expand(len(run.x), -1)


@followed
def input_of_no_memory(run: Run) -> None:
    run.x = torch._efficientzerotensor(run.x.shape, dtype=run.x.dtype)


@followed
def input_in_a_weight(run: Run) -> None:
    weight = run.layers[0].weight
    run.x, run.target = weight.detach(), torch.randint(CLASSES, (len(weight),))


@followed
def input_in_a_buffer(run: Run) -> None:
    run.x = run.x[:1].repeat(4, 1)
    run.target = run.target[:1].repeat(4)
    run.engine.step(run.x, run.target)
    a = run.engine.layers[0].a
    if a.shape == run.x.shape:
        run.x = a


@followed
def steps_in_other_threads(run: Run) -> None:
    data = [batch(rows) for rows in (5, 7)]
    dtype = run.weight.dtype

    def work(x: Tensor, target: Tensor) -> None:
        for _ in range(5):
            run.engine.step(x.to(dtype), target)

    threads = [Thread(target=work, args=pair) for pair in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@followed
def labels_written_in_mid_step(run: Run) -> None:
    x, target = batch(512)
    x = x.to(run.weight.dtype)
    is_over: list[bool] = []

    def scribble() -> None:
        while not is_over:
            target.fill_(10**9)
            target.fill_(0)

    thread = Thread(target=scribble)
    thread.start()
    try:
        for _ in range(20):
            try:
                run.engine.step(x, target)
            except (ValueError, IndexError, RuntimeError):
                continue  # it was seen
    finally:
        is_over.append(True)
        thread.join()


@refused("share a parameter")
def tied(run: Run) -> None:
    run.model.layers[-1].weight = run.layers[0].weight


@refused("expected Dense layers, got ParametrizedDense")
def weight_normed(run: Run) -> None:
    nn.utils.parametrizations.weight_norm(run.layer)


@refused("expected Dense layers, got Linear")
def plain_layer(run: Run) -> None:
    run.model.layers[-1] = nn.Linear(WIDTH, CLASSES).to(run.weight.dtype)


@refused("the model has hooks")
def hooked(run: Run) -> None:
    run.layer.register_forward_hook(lambda *args: args[2] * 0)


@refused("a parameter has gradient hooks")
def gradient_hooked(run: Run) -> None:
    run.model.requires_grad_(True)
    run.weight.register_hook(lambda gradient: gradient * 0)  # type: ignore[no-untyped-call]


@refused("a parameter has gradient hooks")
def accumulation_hooked(run: Run) -> None:
    run.model.requires_grad_(True)
    run.weight.register_post_accumulate_grad_hook(lambda _: None)  # type: ignore[no-untyped-call]


@refused("model.s forward was replaced")
def forward_replaced(run: Run) -> None:
    forward = run.model.forward
    run.model.forward = lambda x: 2 * forward(x)  # type: ignore[method-assign,assignment]


@refused("got meta|lost all|expected a CPU")
def moved_to_meta(run: Run) -> None:
    run.model.to("meta")


@refused("one floating dtype on one device, got torch.float.* and torch.float.*; convert")
def cast_in_part(run: Run) -> None:
    first, *others = run.layers
    dtype = {torch.float32: torch.float64, torch.float64: torch.float32}[first.weight.dtype]
    others[-1].to(dtype)


@refused("lies in a storage that was freed or made smaller")
def weight_freed(run: Run) -> None:
    run.weight.untyped_storage().resize_(0)


@refused("lies in a storage that was freed or made smaller")
def weights_memory_cut(run: Run) -> None:
    weight = run.weight
    weight.data = weight.data.clone()
    weight.untyped_storage().resize_(8)


@refused("has elements that share a place")
def weight_expanded(run: Run) -> None:
    weight = run.layers[0].weight
    weight.data = weight.data[:1].expand(weight.shape)


@refused("expected a bias of shape|has shape")
def bias_cut(run: Run) -> None:
    run.layer.bias.data = run.layer.bias.data[:1]
    for layer in run.layers:
        layer.bias.data = layer.bias.data[:1]


@refused("expected in_features=")
def outputs_cut(run: Run) -> None:
    first = run.layers[0]
    for p in (first.weight, first.bias):
        p.data = p.data[:2]
    run.optimizer.state.clear()


@refused("momentum_buffer .* has shape")
def velocity_cut(run: Run) -> None:
    velocity(run).data = torch.zeros(1, dtype=run.weight.dtype)


@refused("momentum_buffer .* lies in a storage that was freed")
def velocity_freed(run: Run) -> None:
    velocity(run).untyped_storage().resize_(0)


@refused("holds none of the model's parameters")
def optimizer_of_another_model(run: Run) -> None:
    run.optimizer.param_groups[0]["params"] = list(MLP(2, 2, 2).parameters())
    del run.optimizer.param_groups[1:]


@refused("lies in a storage that was freed|has none there")
def input_freed(run: Run) -> None:
    run.x = run.x.clone()
    run.x.untyped_storage().resize_(0)


@refused("lies in a storage that was freed|has none there")
def targets_memory_cut(run: Run) -> None:
    run.x, run.target = batch(8)
    run.x = run.x.to(run.weight.dtype)
    run.target.untyped_storage().resize_(16)


@refused("label 6 is outside the 6 classes")
def label_out_of_range(run: Run) -> None:
    run.target = run.target.clone()
    run.target[-1] = CLASSES


@refused("expected plain tensors, got a FakeTensor")
def input_that_is_fake(run: Run) -> None:
    with FakeTensorMode():
        run.x = torch.empty(run.x.shape, dtype=run.x.dtype)


@refused("without requires_grad")
def input_that_wants_a_gradient(run: Run) -> None:
    run.x = run.x.clone().requires_grad_()
