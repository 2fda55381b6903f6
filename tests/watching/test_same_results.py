"""What a script computes is the same, bit for bit, whether it is watched or not."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import torchmlp
from torchmlp import watch

X, Y = torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3


def states() -> list[Any]:
    # Not Python's: the checks of types that tests run with draw from it.
    return [torch.get_rng_state(), np.random.get_state()[1].tolist()]  # type: ignore[index]  # noqa: NPY002  the global one


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all() or a.equal(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def both(script: Callable[[], Any], **options: Any) -> None:
    """Run a script unwatched and watched, and compare what it returns and the generators."""
    results = []
    for watched in (False, True):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  the global one, on purpose
        if watched:
            with watch(**options):
                result = script()
        else:
            result = script()
        results.append([result, states()])
    for name, a, b in zip(("results", "generators"), *results, strict=True):
        assert same(a, b), name


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5, **how: Any
) -> list[Any]:
    losses = []
    for _ in range(steps):

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            loss.backward(**how)
            losses.append(loss.detach())
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]  # torch's own closures return tensors
    return [losses, list(model.state_dict().values())]


OPTIMIZERS = [
    cls
    for cls in vars(torch.optim).values()
    if isinstance(cls, type)
    and issubclass(cls, torch.optim.Optimizer)
    and cls is not torch.optim.Optimizer
    and cls.__name__ not in {"SparseAdam", "Muon"}  # of sparse gradients, of matrices alone
]


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_every_optimizer(cls: Any) -> None:
    """Each of torch.optim, by a closure; L-BFGS calls it several times a step."""

    def script() -> list[Any]:
        model = mlp()
        return train(model, cls(model.parameters(), lr=0.01))

    both(script)


@pytest.mark.parametrize("steps", [None, 3])
def test_dropout_and_statistics_of_the_batch(steps: int | None) -> None:
    """Random masks and running statistics, a schedule, clipping, also unwatched after 3 steps."""

    def script() -> list[Any]:
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 10)
        found = []
        for _ in range(6):
            sgd.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            sgd.step()
            schedule.step()
            model.eval()
            with torch.no_grad():
                found.append(model(X))
            model.train()
        return [found, list(model.state_dict().values()), schedule.get_last_lr()]

    both(script, steps=steps)


def attention(evaluate: bool) -> list[Any]:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    x = torch.randn(4, 5, 8)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[:, 3:] = True
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for _ in range(3):
        sgd.zero_grad()
        model(x, src_key_padding_mask=mask).square().mean().backward()
        sgd.step()
        if evaluate:
            model.eval()
            with torch.no_grad():
                found += [model(x), model(x, src_key_padding_mask=mask), layer(x)]
            found.append(layer.self_attn(x, x, x, need_weights=False)[0])
            model.train()
    return [found, list(model.state_dict().values())]


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize("evaluate", [False, True])
def test_transformers(evaluate: bool) -> None:
    """In evaluation torch has other kernels for them, which a mode for functions switches off."""
    both(lambda: attention(evaluate))


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_a_transformers_own_kernels_are_called() -> None:
    """... which pads with zeros what its mask hides: a sign that is seen from outside."""

    def script() -> Tensor:
        model = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1
        ).eval()
        mask = torch.zeros(4, 5, dtype=torch.bool)
        mask[:, 3:] = True
        with torch.no_grad():
            return model(torch.randn(4, 5, 8), src_key_padding_mask=mask)

    plain = script()
    with watch():
        watched = script()
    assert plain.shape == watched.shape == (4, 3, 8) or not watched[:, 3:].any()
    both(script)


def recurrent() -> list[Any]:
    lstm, head = nn.LSTM(6, 5, 2, dropout=0.3, batch_first=True), nn.Linear(5, 3)
    adam = torch.optim.Adam([*lstm.parameters(), *head.parameters()])
    x = torch.randn(4, 7, 6)
    for _ in range(4):
        adam.zero_grad()
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 5, 3, 2]), batch_first=True)
        out, _ = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)
        F.cross_entropy(head(out[:, -1]), Y[:4]).backward()
        adam.step()
    return [p.detach() for p in (*lstm.parameters(), *head.parameters())]


def mixed_precision() -> list[Any]:
    model = mlp()
    sgd, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    for _ in range(4):
        sgd.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(X), Y)
        scaler.scale(loss).backward()
        scaler.unscale_(sgd)
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        scaler.step(sgd)
        scaler.update()
    return [*model.state_dict().values(), scaler.get_scale()]


def transforms() -> list[Any]:
    model = mlp()
    names = dict(model.named_parameters())

    def loss(parameters: Any, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (x[None],)), y[None])

    found = []
    for _ in range(3):
        each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(names, X, Y)
        whole = torch.func.jacrev(
            lambda p: F.cross_entropy(torch.func.functional_call(model, p, (X,)), Y)
        )(names)
        hessian = torch.func.hessian(
            lambda b: F.cross_entropy(model[2](X[:, :8].repeat(1, 2)[:, :8]) + b, Y)  # type: ignore[index]  # a Sequential
        )(torch.zeros(3))
        with torch.no_grad():
            for name, p in names.items():
                p -= 0.1 * each[name].mean(0)
        found += [*each.values(), *whole.values(), hessian]
    return found


def checkpoints(reentrant: bool) -> list[Any]:
    a, b = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU()), nn.Linear(8, 3)
    sgd = torch.optim.SGD([*a.parameters(), *b.parameters()], lr=0.1)
    x = X.clone().requires_grad_()
    for _ in range(4):
        sgd.zero_grad()
        F.cross_entropy(b(checkpoint(a, x, use_reentrant=reentrant)), Y).backward()
        sgd.step()
    return [p.detach() for p in (*a.parameters(), *b.parameters(), x.grad)]  # type: ignore[union-attr]  # it is there


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


def higher_derivatives() -> list[Any]:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    adam = torch.optim.Adam(model.parameters())
    x = X.clone().requires_grad_()
    found = []
    for _ in range(4):
        adam.zero_grad()
        out = Cube.apply(model(x))
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        loss = (slope.norm(dim=1) - 1).square().mean()
        loss.backward(retain_graph=True)
        loss.backward()
        adam.step()
        found.append(loss.detach())
    return [found, [p.detach() for p in model.parameters()]]


def sparse() -> list[Any]:
    table, head = nn.EmbeddingBag(9, 4, sparse=True), nn.Linear(4, 3)
    one = torch.optim.SparseAdam(table.parameters())
    two = torch.optim.Adam(head.parameters())
    for _ in range(4):
        one.zero_grad()
        two.zero_grad()
        F.cross_entropy(head(table(torch.randint(9, (24, 2)))), Y).backward()
        one.step()
        two.step()
    return [p.detach() for p in (*table.parameters(), *head.parameters())]


def forward_mode() -> list[Any]:
    model = mlp()
    x = X.clone()
    found = []
    for _ in range(3):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
            found += torch.autograd.forward_ad.unpack_dual(model(dual))
    return [t.detach() for t in found]


def devices() -> list[Any]:
    with torch.device("cpu"):
        model = mlp()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        found = train(model, sgd)
    torch.set_default_device("cpu")
    try:
        return [found, train(model, torch.optim.Adam(model.parameters()))]
    finally:
        torch.set_default_device(None)


def complex_and_empty() -> list[Any]:
    """Tensors that a rule may not expect."""
    weight = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))
    sgd = torch.optim.SGD([weight], lr=0.1)
    model = mlp()
    for _ in range(4):
        sgd.zero_grad()
        model(X[:0]).sum().backward()
        (X.to(torch.complex64) @ weight).abs().square().mean().backward()
        sgd.step()
    return [weight.detach()]


def own_functions() -> list[Any]:
    model = torchmlp.MLP(6, 8, 3)
    found = train(model, torch.optim.Adam(model.parameters()))
    weight = torch.randn(3, 6, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=0.1)
    for _ in range(4):
        sgd.zero_grad()
        loss = torchmlp.network_loss(X, Y, [weight], None, ["identity"], "cross_entropy")
        (loss + torchmlp.dense(X, weight, None, "tanh").square().mean()).backward()
        sgd.step()
    return [found, weight.detach()]


def engine() -> list[Any]:
    found = []
    for cls in (torch.optim.SGD, torch.optim.Adam):
        model = torchmlp.MLP(6, 8, 3)
        steps = torchmlp.Engine(model, "cross_entropy", cls(model.parameters(), lr=0.1))
        found += [steps.step(X, Y).clone() for _ in range(6)]
        found += model.state_dict().values()
    population = torchmlp.Population(6, 8, 3, size=3, lr=[0.1, 0.2, 0.3], seeds=[0, 1, 2])
    found += [population.step(X, Y).clone() for _ in range(6)]
    return found


def loaders(workers: int, start: str | None) -> list[Any]:
    data = TensorDataset(X, Y)
    model = mlp()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(data, 8, shuffle=True, num_workers=workers, multiprocessing_context=start)
    for _ in range(2):
        for x, y in loader:
            sgd.zero_grad()
            F.cross_entropy(model(x), y).backward()
            sgd.step()
    return list(model.state_dict().values())


def threads() -> list[Any]:
    models = [mlp() for _ in range(3)]

    def one(model: nn.Module) -> None:
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(sgd, 0.9)
        for _ in range(10):
            train(model, sgd, 2)
            model.eval()
            model.train()
            schedule.step()

    others = [threading.Thread(target=one, args=(model,)) for model in models[1:]]
    for thread in others:
        thread.start()
    one(models[0])
    for thread in others:
        thread.join()
    return [list(model.state_dict().values()) for model in models]


@pytest.mark.parametrize(
    "script",
    [
        recurrent,
        mixed_precision,
        transforms,
        lambda: checkpoints(True),
        lambda: checkpoints(False),
        higher_derivatives,
        sparse,
        forward_mode,
        devices,
        own_functions,
        engine,
        lambda: loaders(0, None),
        lambda: loaders(2, "fork"),
        pytest.param(lambda: loaders(1, "spawn"), marks=pytest.mark.slow),
        threads,
        complex_and_empty,
    ],
)
def test_everything_else(script: Callable[[], Any]) -> None:
    """Whatever torch offers a loop."""
    both(script)
