"""Small runs: for every cause one that suffers from it, and a near twin that is healthy."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import SGD, Adam, Optimizer

from torchmlp.diagnosis import Report, diagnose
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import Batch, TrainingRun

Net = Callable[[], nn.Module]
Optim = Callable[[Iterable[nn.Parameter]], Optimizer]

# Data.


def blobs(classes: int = 3, noise: float = 0.3, n: int = 240) -> Batch:
    """Points around as many places on the unit circle, and which place it is."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (n,), generator=generator)
    angle = labels * (math.tau / classes)
    middle = 1.4 * torch.stack([angle.cos(), angle.sin()], 1)
    return middle + noise * torch.randn(n, 2, generator=generator), labels


def column(data: Batch) -> Batch:
    """Labels 0 and 1 as floats, (n, 1)."""
    return data[0], data[1].float().unsqueeze(1)


def one_hot(data: Batch) -> Batch:
    """Labels as rows."""
    return data[0], F.one_hot(data[1]).float()


def quadrants(n: int = 240) -> Batch:
    """Whether the two coordinates have the same sign: no line tells them apart."""
    x = 2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(1)) - 1
    return x, (x[:, 0] * x[:, 1] > 0).long()


def curve(scale: float = 1.0, shift: float = 0.0, n: int = 240) -> Batch:
    """A smooth function of two numbers, (n, 1)."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    y = torch.tanh(x[:, :1]) + 0.5 * x[:, 1:]
    return x, scale * y + shift


def rare(n: int = 600, share: float = 0.04) -> Batch:
    """Two overlapping classes, one of them rare."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(n, generator=generator) < share).long()
    return torch.randn(n, 2, generator=generator) + 1.1 * labels[:, None], labels


def shuffled_labels(data: Batch) -> Batch:
    """The same targets, handed out to other inputs."""
    order = torch.randperm(len(data[1]), generator=torch.Generator().manual_seed(5))
    return data[0], data[1][order]


def with_inputs(data: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same targets with other inputs."""
    return change(data[0].clone()), data[1]


def with_targets(data: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same inputs with other targets."""
    return data[0], change(data[1].clone())


def one_nan(x: Tensor) -> Tensor:
    """The numbers, the first of them lost."""
    x[0, 0] = math.nan
    return x


def in_batches(data: Batch, size: int = 16, *, is_sorted: bool = False) -> list[Batch]:
    """As a list, in the order of the labels or as they come."""
    order = torch.argsort(data[1], stable=True) if is_sorted else torch.arange(len(data[1]))
    return [(data[0][rows], data[1][rows]) for rows in torch.split(order, size)]


def tides(height: float = 1.0, n: int = 512) -> list[Batch]:
    """Batches whose targets lie above the curve for eight batches, and below it for eight."""
    x, y = curve(n=n)
    sign = 2.0 * (torch.arange(n) // 128 % 2) - 1
    return in_batches((x, y + height * sign[:, None]))


# Networks.


def net(
    *widths: int,
    phi: Net = nn.ReLU,
    end: Net | None = None,
    init: Callable[[Tensor], object] | None = None,
    bias: float | None = None,
) -> nn.Sequential:
    """Linear layers with an activation between them; `bias` is that of the hidden ones."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), phi()]
    layers = [*layers[:-1], *([end()] if end else [])]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in linear:
            if init:
                init(layer.weight)
        for layer in linear[:-1]:
            if bias is not None:
                layer.bias.fill_(bias)
    return nn.Sequential(*layers)


def bounded(z: Tensor) -> Tensor:
    """Logits that stay between -3 and 3, so that no loss runs away."""
    return 3 * z / (1 + z.abs())


class Bent(nn.Module):
    """A function as a module, with autograd's derivative."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def naive_sigmoid(z: Tensor, slope: float = 1.0) -> Tensor:
    """The sigmoid with an exponential that overflows where z is large."""
    return (slope * z).exp() / (1 + (slope * z).exp())


class Tanh(torch.autograd.Function):
    """Tanh with a derivative written by hand; the one who wrote it was right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        a = torch.tanh(x)
        ctx.save_for_backward(a)
        return a

    @staticmethod
    def backward(ctx: Any, *delta: Tensor) -> Tensor:
        a: Tensor = ctx.saved_tensors[0]
        return delta[0] * (1 - a * a)


class TanhAscending(Tanh):
    """Tanh whose derivative has the wrong sign."""

    @staticmethod
    def backward(ctx: Any, *delta: Tensor) -> Tensor:
        a: Tensor = ctx.saved_tensors[0]
        return -delta[0] * (1 - a * a)


def by_hand(function: type[torch.autograd.Function]) -> Net:
    """The Function as a module."""
    # Looked up at each call, for it may be replaced.
    return lambda: Bent(lambda x: function.apply(x))  # type: ignore[no-untyped-call]  # noqa: PLW0108


def frozen(names: str, *, end: bool = True) -> nn.Module:
    """Those parameters require no gradient; without `end`, the last layer alone is trained."""
    model = net(2, 8, 3) if end else net(2, 32, 32, 3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(names not in name)
            if names == name:
                parameter.mul_(0.003)
    return model


class Listed(nn.Module):
    """Layers in what `keep` makes of a list of them."""

    def __init__(self, keep: Callable[[list[nn.Module]], Any]) -> None:
        super().__init__()
        self.hidden = keep([nn.Linear(2, 8), nn.Linear(8, 8)])
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        layers = self.hidden.values() if hasattr(self.hidden, "values") else self.hidden
        for layer in layers:
            x = torch.relu(layer(x))
        output: Tensor = self.out(x)
        return output


def named(layers: list[nn.Module]) -> dict[str, nn.Module]:
    """The layers in a plain dict."""
    return dict(zip("ab", layers, strict=True))


class Anew(nn.Module):
    """A layer is made in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(torch.relu(nn.Linear(2, 8)(x)))
        return output


def normalized() -> nn.Module:
    """Batch normalisation after the first layer."""
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def dropping() -> nn.Module:
    """Dropout after the first layer."""
    return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))


def several_labels() -> Batch:
    """Rows of labels, of which none, one or several are true."""
    x, _ = blobs()
    truth = torch.stack([x[:, 0] > 0, x[:, 1] > 0, x.sum(1) > 0], 1)
    return x, truth.float()


def log_likelihood(z: Tensor, y: Tensor) -> Tensor:
    """What is to be made large."""
    return torch.log_softmax(z, 1)[torch.arange(len(y)), y].mean()


def half(make: Net) -> Net:
    """The same network in 16 bits."""
    return lambda: make().half()


# Losses that are written out.


def naive_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """The softmax as its definition."""
    p = z.exp() / z.exp().sum(1, keepdim=True)
    return -p.gather(1, y[:, None]).log().mean()


def log_of_sigmoid(p: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of probabilities as they come."""
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def clamped_log_of_sigmoid(p: Tensor, y: Tensor) -> Tensor:
    """The same, kept from 0 and 1."""
    return log_of_sigmoid(p.clamp(1e-7, 1 - 1e-7), y)


def other_loss_shown(z: Tensor, y: Tensor) -> Tensor:
    """Shows cross-entropy, and descends the size of the logits."""
    followed = z.square().mean()
    return F.cross_entropy(z, y).detach() + followed - followed.detach()


def scaled_cross_entropy(z: Tensor, y: Tensor, scale: float) -> Tensor:
    """Cross-entropy with gradients as small as the scale."""
    return scale * F.cross_entropy(z, y)


# Optimizers.


class Turning(SGD):
    """SGDUpdate that multiplies its rate by something after 50 steps, unseen from outside."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, factor: float) -> None:
        super().__init__(parameters, lr)
        self.factor, self.count = factor, 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        rates = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate * (self.factor if self.count > 50 else 1.0)
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss


def sgd(lr: float, momentum: float = 0.0) -> Optim:
    """Gradient descent."""
    return lambda parameters: SGD(parameters, lr, momentum)


def turning(factor: float) -> Optim:
    """SGDUpdate that starts well."""
    return lambda parameters: Turning(parameters, 0.1, factor)


def adam(lr: float) -> Optim:
    """Adam."""
    return lambda parameters: Adam(parameters, lr)


# Runs.


@dataclass(frozen=True)
class Run:
    """What `diagnose` is given; the network is drawn anew, from the same seed, every time."""

    net: Net
    loss: Any
    optim: Optim
    data: Callable[[], Any]
    steps: int = 60
    batch_size: int | None = 16
    remedies: bool = False

    def made(self) -> tuple[nn.Module, Optimizer]:
        torch.manual_seed(0)
        model = self.net()
        return model, self.optim(model.parameters())

    def report(self, *, remedies: bool | None = None) -> Report:
        model, optimizer = self.made()
        return diagnose(
            model,
            self.loss,
            optimizer,
            self.data(),
            steps=self.steps,
            batch_size=self.batch_size,
            remedies=self.remedies if remedies is None else remedies,
            budget=None,  # the machine that tests run on is a busy one
        )

    def subject(self) -> TrainingRun:
        model, optimizer = self.made()
        return TrainingRun(
            model, self.loss, optimizer, read_batches(self.data(), self.batch_size, self.steps)
        )


@dataclass(frozen=True)
class Case:
    """A cause, a run that has it, and its twin that has not.

    Attributes:
        layer: that is named, or None.
        is_first: whether it is the first that is named.
        variant: tells two cases of one cause apart.
    """

    cause: str
    sick: Run
    twin: Run
    layer: int | None = None
    is_first: bool = True
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.cause}-{self.variant}" if self.variant else self.cause


GOOD = Run(net=partial(net, 2, 8, 3), loss=nn.CrossEntropyLoss(), optim=sgd(0.3), data=blobs)
BINARY = replace(
    GOOD,
    net=partial(net, 2, 8, 1),
    loss=nn.BCEWithLogitsLoss(),
    data=lambda: column(blobs(2)),
)
PROBABILITY = replace(BINARY, net=partial(net, 2, 8, 1, end=nn.Sigmoid), loss=nn.BCELoss())
FIT = replace(
    GOOD, net=partial(net, 2, 16, 1), loss=nn.MSELoss(), optim=sgd(0.1), data=curve, steps=120
)
BENT = replace(
    GOOD, net=partial(net, 2, 16, 2), optim=adam(0.05), data=quadrants, steps=120, remedies=True
)


listed_well = replace(GOOD, net=partial(Listed, nn.ModuleList))


def cases() -> list[Case]:
    """The table."""
    wide = partial(net, 2, 64, 64, 3, phi=nn.Sigmoid)
    deep = (2, *([16] * 8), 3)
    normal = nn.init.normal_
    he = partial(nn.init.kaiming_normal_, nonlinearity="relu")
    return [
        Case(
            "input-non-finite",
            replace(GOOD, data=lambda: with_inputs(blobs(), one_nan)),
            GOOD,
        ),
        Case(
            "input-non-finite",
            replace(FIT, data=lambda: with_targets(curve(), one_nan)),
            FIT,
            variant="in the targets",
        ),
        Case(
            "target-out-of-range",
            replace(GOOD, data=lambda: with_targets(blobs(), lambda y: y + 1)),
            GOOD,
        ),
        Case(
            "target-out-of-range",
            replace(GOOD, net=partial(net, 2, 8, 2)),
            GOOD,
            layer=2,
            variant="too few outputs",
        ),
        Case(
            "target-out-of-range",
            replace(FIT, net=partial(net, 2, 16, 1, end=nn.Sigmoid)),
            replace(
                FIT,
                net=partial(net, 2, 16, 1, end=nn.Sigmoid),
                optim=sgd(2.0),
                data=lambda: with_targets(curve(), torch.sigmoid),
            ),
            variant="beyond a sigmoid",
        ),
        Case(
            "labels-constant",
            replace(GOOD, data=lambda: with_targets(blobs(), torch.zeros_like)),
            GOOD,
        ),
        Case(
            "labels-constant",
            replace(
                GOOD,
                net=partial(net, 2, 64, 64, 2),
                optim=adam(0.05),
                data=lambda: in_batches(blobs(2), is_sorted=True),
                steps=15,
                batch_size=None,
                remedies=True,
            ),
            replace(
                GOOD,
                net=partial(net, 2, 64, 64, 2),
                optim=adam(0.05),
                data=lambda: in_batches(blobs(2)),
                steps=15,
                batch_size=None,
            ),
            variant="in every batch",
        ),
        Case("labels-unrelated", replace(GOOD, data=lambda: shuffled_labels(blobs())), GOOD),
        Case(
            "labels-unrelated",
            replace(FIT, data=lambda: shuffled_labels(curve())),
            FIT,
            variant="numbers",
        ),
        Case(
            "input-not-normalized",
            replace(FIT, data=lambda: with_inputs(curve(), lambda x: 300 * x), remedies=True),
            FIT,
            layer=1,
        ),
        Case(
            "class-imbalance",
            replace(
                GOOD, net=partial(net, 2, 8, 2), data=rare, batch_size=100, steps=30, remedies=True
            ),
            replace(GOOD, net=partial(net, 2, 8, 2), data=partial(rare, share=0.5), batch_size=100),
        ),
        Case(
            "wrong-gradient",
            replace(GOOD, net=partial(net, 2, 8, 8, 3, phi=by_hand(TanhAscending))),
            replace(GOOD, net=partial(net, 2, 8, 8, 3, phi=by_hand(Tanh))),
            layer=2,
        ),
        Case(
            "no-gradient",
            replace(
                GOOD, net=lambda: nn.Sequential(net(2, 8, 8), Bent(Tensor.detach), net(8, 8, 3))
            ),
            replace(GOOD, net=lambda: nn.Sequential(net(2, 8, 8), Bent(Tensor.tanh), net(8, 8, 3))),
            layer=2,
        ),
        Case(
            "no-gradient",
            replace(GOOD, loss=lambda z, y: F.cross_entropy(z.detach(), y)),
            GOOD,
            variant="no graph",
        ),
        Case("frozen-parameters", replace(GOOD, net=partial(frozen, "weight")), GOOD),
        Case(
            "frozen-parameters", replace(GOOD, net=partial(frozen, "")), GOOD, variant="all of them"
        ),
        Case(
            "frozen-parameters",
            replace(GOOD, net=partial(frozen, "2.weight", end=False), remedies=True),
            GOOD,
            layer=2,
            variant="one layer",
        ),
        Case("parameters-not-optimized", replace(GOOD, net=partial(Listed, list)), listed_well),
        Case(
            "parameters-not-optimized",
            replace(GOOD, net=partial(Listed, named)),
            listed_well,
            variant="in a dict",
        ),
        Case("parameters-not-optimized", replace(GOOD, net=Anew), listed_well, variant="anew"),
        Case(
            "parameters-not-optimized",
            replace(GOOD, optim=lambda _: SGD(net(2, 8, 3).parameters(), 0.3)),
            GOOD,
            layer=1,
            variant="another model's",
        ),
        Case(
            "wrong-mode",
            replace(GOOD, net=lambda: normalized().eval()),
            replace(GOOD, net=normalized),
        ),
        Case(
            "wrong-mode",
            replace(GOOD, net=lambda: dropping().eval()),
            replace(GOOD, net=dropping),
            variant="dropout",
        ),
        Case("loss-ascended", replace(GOOD, loss=lambda z, y: -F.cross_entropy(z, y)), GOOD),
        Case(
            "loss-ascended",
            replace(GOOD, loss=log_likelihood, remedies=True),
            replace(GOOD, loss=lambda z, y: -log_likelihood(z, y)),
            variant="written out",
        ),
        Case(
            "loss-ascended",
            replace(GOOD, optim=lambda parameters: SGD(parameters, 0.3, maximize=True)),
            GOOD,
            variant="climbing",
        ),
        Case(
            "softmax-over-one-unit",
            replace(PROBABILITY, net=partial(net, 2, 8, 1, end=partial(nn.Softmax, dim=-1))),
            PROBABILITY,
            layer=2,
        ),
        Case(
            "output-loss-mismatch",
            replace(GOOD, net=partial(net, 2, 8, 3, end=partial(nn.Softmax, dim=-1))),
            GOOD,
            layer=2,
        ),
        Case(
            "shape-broadcast",
            replace(FIT, data=lambda: with_targets(curve(), lambda y: y[:, 0])),
            FIT,
            layer=2,
        ),
        Case(
            "output-loss-mismatch",
            replace(GOOD, data=several_labels),
            replace(GOOD, data=several_labels, loss=nn.BCEWithLogitsLoss()),
            layer=2,
            variant="several labels",
        ),
        Case(
            "output-loss-mismatch",
            replace(GOOD, data=lambda: with_targets(several_labels(), Tensor.long)),
            GOOD,
            layer=2,
            variant="several labels as integers",
        ),
        Case(
            "output-loss-mismatch",
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, end=partial(nn.LogSoftmax, dim=0)),
                loss=nn.NLLLoss(),
            ),
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, end=partial(nn.LogSoftmax, dim=1)),
                loss=nn.NLLLoss(),
            ),
            layer=2,
            variant="over the batch",
        ),
        Case("missing-output-activation", replace(GOOD, loss=nn.NLLLoss()), GOOD, layer=2),
        Case(
            "missing-output-activation",
            replace(BINARY, loss=nn.BCELoss()),
            PROBABILITY,
            layer=2,
            variant="probability",
        ),
        Case(
            "missing-nonlinearity",
            replace(BENT, net=partial(net, 2, 16, 2, phi=nn.Identity)),
            BENT,
            layer=1,
        ),
        Case(
            "symmetric-init",
            replace(
                BENT,
                net=partial(net, 2, 16, 2, init=partial(nn.init.constant_, val=0.3), bias=0.0),
            ),
            BENT,
            layer=1,
        ),
        Case(
            "init-not-centred",
            replace(GOOD, net=partial(wide, init=nn.init.uniform_), remedies=True),
            replace(GOOD, net=partial(wide, init=nn.init.xavier_uniform_), optim=sgd(1.0)),
            layer=1,
        ),
        Case(
            "init-too-large",
            replace(
                GOOD,
                net=partial(net, 2, 32, 32, 3, phi=nn.Tanh, init=partial(normal, std=20.0)),
                optim=sgd(0.03),
                remedies=True,
            ),
            replace(GOOD, net=partial(net, 2, 32, 32, 3, phi=nn.Tanh)),
            layer=1,
        ),
        Case(
            "init-too-small",
            replace(
                GOOD,
                net=partial(net, 2, 16, 16, 16, 3, init=partial(normal, std=0.003)),
                remedies=True,
            ),
            replace(GOOD, net=partial(net, 2, 16, 16, 16, 3, init=he), optim=sgd(0.1)),
            layer=1,
        ),
        Case(
            "half-underflow",
            replace(
                GOOD,
                net=half(partial(net, 2, 8, 3)),
                loss=partial(scaled_cross_entropy, scale=1e-4),
                optim=sgd(3000.0),
                data=lambda: with_inputs(blobs(), Tensor.half),
            ),
            replace(GOOD, loss=partial(scaled_cross_entropy, scale=1e-4), optim=sgd(3000.0)),
            layer=2,
        ),
        Case(
            "unstable-softmax",
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, end=lambda: Bent(lambda z: 300 * z)),
                loss=naive_cross_entropy,
                remedies=True,
            ),
            replace(GOOD, loss=naive_cross_entropy),
            layer=2,
        ),
        Case(
            "unstable-activation",
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, phi=partial(Bent, partial(naive_sigmoid, slope=90.0))),
                remedies=True,
            ),
            replace(GOOD, net=partial(net, 2, 8, 3, phi=partial(Bent, naive_sigmoid))),
            layer=1,
        ),
        Case(
            "log-of-zero",
            replace(PROBABILITY, loss=log_of_sigmoid, optim=sgd(200.0)),
            replace(PROBABILITY, loss=clamped_log_of_sigmoid),
            layer=2,
        ),
        Case("reported-loss-differs", replace(GOOD, loss=other_loss_shown), GOOD),
        Case(
            "saturation",
            replace(GOOD, net=partial(net, 2, 8, 3, phi=nn.Sigmoid, bias=30.0), remedies=True),
            replace(GOOD, net=partial(net, 2, 8, 3, phi=nn.Sigmoid), optim=sgd(2.0)),
            layer=1,
        ),
        Case(
            "dead-units",
            replace(GOOD, net=partial(net, 2, 8, 3, bias=-20.0), remedies=True),
            GOOD,
            layer=1,
        ),
        Case(
            "exploding-gradient",
            replace(
                GOOD,
                net=partial(
                    net, *deep, init=lambda w: nn.init.normal_(w, std=2.4 / math.sqrt(w.shape[1]))
                ),
                optim=sgd(0.1),
                remedies=True,
            ),
            replace(GOOD, net=partial(net, *deep, init=he), optim=sgd(0.03)),
            layer=1,
        ),
        Case(
            "vanishing-gradient",
            replace(GOOD, net=partial(net, *deep, phi=nn.Sigmoid), remedies=True),
            replace(GOOD, net=partial(net, *deep, init=he), optim=sgd(0.03)),
            layer=1,
        ),
        Case("learning-rate-too-high", replace(GOOD, optim=sgd(100.0), remedies=True), GOOD),
        Case(
            "late-divergence",
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, end=partial(Bent, bounded)),
                optim=turning(-1.5),
                steps=100,
                batch_size=240,
                remedies=True,
            ),
            replace(
                GOOD,
                net=partial(net, 2, 8, 3, end=partial(Bent, bounded)),
                optim=turning(1.0),
                steps=100,
                batch_size=240,
            ),
        ),
        Case(
            "oscillation",
            replace(FIT, optim=sgd(0.3), data=tides, batch_size=None, steps=96, remedies=True),
            replace(
                FIT, optim=sgd(0.3), data=partial(tides, height=0.0), batch_size=None, steps=96
            ),
        ),
        Case("learning-rate-too-low", replace(GOOD, optim=sgd(1e-4), remedies=True), GOOD),
        Case(
            "too-few-steps",
            replace(BENT, optim=adam(0.01), steps=12),
            replace(BENT, optim=adam(0.05), steps=120),
        ),
    ]
