"""What the benchmark's runs train: networks, right and wrong pieces of them, and losses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Change, Data
from run import Batch, Problem
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

Net = Callable[[], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch-norm": nn.BatchNorm1d,
    "layer-norm": nn.LayerNorm,
}


@dataclass(frozen=True)
class MapConfig:
    """A run but for its seed."""

    data: Data
    net: Net
    loss: Loss
    optim: Callable[[Iterable[nn.Parameter]], Optimizer]
    score: Callable[[nn.Module, list[Batch]], float]
    batch: int = 32
    steps: int = 200
    dtype: torch.dtype = torch.float32

    def __call__(self, seed: int) -> Problem:
        """Draw the samples, then the weights."""
        torch.manual_seed(seed)
        x, y = self.data()
        x, y = x.to(self.dtype), y.to(self.dtype) if y.is_floating_point() else y
        model = self.net().to(self.dtype)
        starts = range(0, len(x), self.batch)
        batches = [(x[i : i + self.batch], y[i : i + self.batch]) for i in starts]
        optimizer = self.optim(model.parameters())
        return Problem(model, self.loss, optimizer, batches, self.score, self.steps)


def sgd(lr: float, momentum: float = 0.0) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """Gradient descent, with or without momentum."""
    return lambda parameters: SGD(parameters, lr, momentum)


def adam(lr: float) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """Adam, its other settings left alone."""
    return lambda parameters: Adam(parameters, lr)


class Scheduled(SGD):
    """Gradient descent that multiplies its rate after every step, up to a limit."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        factor: float,
        limit: float = float("inf"),
        momentum: float = 0.0,
    ) -> None:
        super().__init__(params, lr, momentum)
        self.factor, self.limit = factor, limit

    def step(self, closure: Any = None) -> Any:
        """Step, then change the rate."""
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = min(group["lr"] * self.factor, self.limit)
        return loss


def stack(*parts: int | str | Net) -> Net:
    """Widths, joined by linear layers, with norms and activations between them."""

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        width = 0
        for part in parts:
            if isinstance(part, int):
                layers += [nn.Linear(width, part)] if width else []
                width = part
            else:
                layers.append(NORMS[part](width) if isinstance(part, str) else part())
        return nn.Sequential(*layers)

    return make


class Functional(nn.Module):
    """Linear layers whose activations are functions called in `forward`."""

    def __init__(self, sizes: list[int], phi: Change, out: Change | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.phi, self.out = phi, out

    def forward(self, x: Tensor) -> Tensor:
        """Activate all layers but the last, which has its own function."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.phi(layer(x))
        z: Tensor = last(x)
        return self.out(z) if self.out else z


class Residual(nn.Module):
    """Blocks that add to what passes through; each may normalise what it reads."""

    def __init__(
        self, sizes: tuple[int, int, int], blocks: int, *, norm: bool = True, scale: float = 1.0
    ) -> None:
        super().__init__()
        first, width, last = sizes
        self.first, self.last = nn.Linear(first, width), nn.Linear(width, last)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        norms = (nn.LayerNorm(width) if norm else nn.Identity() for _ in range(blocks))
        self.norms, self.scale = nn.ModuleList(norms), scale

    def forward(self, x: Tensor) -> Tensor:
        """Add each block's ReLU of a linear layer."""
        x = self.first(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = x + self.scale * functional.relu(block(norm(x)))
        z: Tensor = self.last(x)
        return z


class Convolutional(nn.Module):
    """Two convolutions over the digits and a linear layer."""

    def __init__(self, out: Change | None = None) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 5, stride=2), nn.Conv2d(8, 16, 3, stride=2)
        self.last = nn.Linear(16 * 5 * 5, 10)
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the rows of pixels as images."""
        x = functional.relu(self.conv1(x.view(-1, 1, 28, 28)))
        x = functional.relu(self.conv2(x))
        z: Tensor = self.last(x.flatten(1))
        return self.out(z) if self.out else z


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Change) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.function(x)


def apply(function: Change) -> Net:
    """A function as part of a stack."""
    return lambda: Apply(function)


def altered(
    net: Net,
    *layers: int,
    weight: Callable[[Tensor], object] | None = None,
    bias: Callable[[Tensor], object] | None = None,
) -> Net:
    """The same network, the weights or biases of some layers (all, if none is named) set."""

    def make() -> nn.Module:
        model = net()
        found = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        for layer in [found[n - 1 if n > 0 else n] for n in layers] or found:
            if weight:
                weight(layer.weight)
            if bias and layer.bias is not None:
                bias(layer.bias)
        return model

    return make


def normal(std: float, mean: float = 0.0) -> Callable[[Tensor], object]:
    """Draw from one normal distribution, whatever the layer's width."""
    return lambda tensor: nn.init.normal_(tensor, mean, std)


def uniform(low: float, high: float) -> Callable[[Tensor], object]:
    """Draw uniformly, whatever the layer's width."""
    return lambda tensor: nn.init.uniform_(tensor, low, high)


def constant(value: float) -> Callable[[Tensor], object]:
    """Give every entry one value."""
    return lambda tensor: nn.init.constant_(tensor, value)


def he(gain: float = 1.0) -> Callable[[Tensor], object]:
    """Draw as for ReLU, times a gain."""
    return lambda w: nn.init.normal_(w, 0.0, gain * (2 / w[0].numel()) ** 0.5)


def lecun(gain: float = 1.0) -> Callable[[Tensor], object]:
    """Draw with variance 1/fan_in, times a gain."""
    return lambda w: nn.init.normal_(w, 0.0, gain * w[0].numel() ** -0.5)


def one_row(weight: Tensor) -> None:
    """Give all units the first one's weights."""
    with torch.no_grad():
        weight.copy_(weight[:1].expand_as(weight).clone())


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Change, slope: Change) -> Tensor:
        ctx.save_for_backward(z)
        ctx.slope = slope
        return value(z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return grads[0] * ctx.slope(z), None, None


def by_hand(value: Change, slope: Change) -> Change:
    """An activation with what its author takes for its derivative."""
    return lambda z: _Elementwise.apply(z, value, slope)  # type: ignore[no-untyped-call]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rule: Rule) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rule = rule
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return (*ctx.rule(grads[0], *ctx.saved_tensors), None)


class LinearByHand(nn.Linear):
    """A linear layer whose gradients (delta, x, weight) -> of x, weight, bias are its author's."""

    def __init__(self, fan_in: int, fan_out: int, rule: Rule) -> None:
        super().__init__(fan_in, fan_out)
        self.rule = rule

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  nn.Linear's word
        """X Wᵀ + b."""
        return _Linear.apply(input, self.weight, self.bias, self.rule)  # type: ignore[no-untyped-call, no-any-return]


class _Reported(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, value: Loss, other: Loss) -> Tensor:
        ctx.save_for_backward(z, y)
        ctx.other = other
        return value(z, y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        z, y = ctx.saved_tensors
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.other(leaf, y), leaf)
        return grads[0] * gradient, None, None, None


def reported(value: Loss, other: Loss) -> Loss:
    """A loss that shows one value and follows another's derivative."""
    return lambda z, y: _Reported.apply(z, y, value, other)  # type: ignore[no-untyped-call]


def naive_softmax(z: Tensor) -> Tensor:
    """Softmax that does not subtract the largest score."""
    return z.exp() / z.exp().sum(1, keepdim=True)


def safe_nll(p: Tensor, y: Tensor) -> Tensor:
    """-log p of the class, away from zero."""
    return -(p.gather(1, y[:, None]) + 1e-7).log().mean()


def naive_nll(p: Tensor, y: Tensor) -> Tensor:
    """-log p of the class, whatever p is."""
    return -p.gather(1, y[:, None]).log().mean()


def naive_bce(p: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy as the books write it."""
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def safe_bce(p: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy away from zero."""
    return -(y * (p + 1e-7).log() + (1 - y) * (1 - p + 1e-7).log()).mean()


def one_hot_mse(p: Tensor, y: Tensor) -> Tensor:
    """Squared error against the classes' one-hot code."""
    return functional.mse_loss(p, functional.one_hot(y, p.shape[1]).to(p.dtype))


def squared(p: Tensor, y: Tensor) -> Tensor:
    """Mean of the squared differences, by hand."""
    return ((p - y) ** 2).mean()


def margin(p: Tensor, y: Tensor) -> Tensor:
    """Hinge loss for one output and a column of zeros and ones."""
    return (1 - (2 * y - 1) * p).clamp(min=0).mean()


def one_hot_nll(p: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy as the books write it: zero times infinity where a p is zero."""
    return -(functional.one_hot(y, p.shape[1]) * p.log()).sum(1).mean()


def weighted(*weights: float) -> nn.Module:
    """Cross-entropy that lets rare classes count more."""
    return nn.CrossEntropyLoss(torch.tensor(weights))


def naive_softplus(z: Tensor) -> Tensor:
    """log(1 + exp z)."""
    return (1 + z.exp()).log()


def naive_swish(z: Tensor) -> Tensor:
    """Swish, its sigmoid written as exp z / (1 + exp z)."""
    return z * z.exp() / (1 + z.exp())


def naive_tanh(z: Tensor) -> Tensor:
    """(exp z - exp -z) / (exp z + exp -z)."""
    return (z.exp() - (-z).exp()) / (z.exp() + (-z).exp())


def of_unit_length(h: Tensor) -> Tensor:
    """Each sample's units divided by their norm; away from zero."""
    return functional.normalize(h, dim=1)


def divided_by_norm(h: Tensor) -> Tensor:
    """The same without care for a sample whose units are all zero."""
    return h / h.pow(2).sum(1, keepdim=True).sqrt()


def either_sign(bias: Tensor) -> None:
    """Biases of -20 and 20."""
    with torch.no_grad():
        bias.copy_(20 * torch.randn_like(bias).sign())


def not_transposed(delta: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's gradients, the first with W in place of its transpose."""
    return delta @ weight.T, delta.T @ x, delta.sum(0)


def transposed(delta: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's gradients, the second transposed."""
    return delta @ weight, x.T @ delta, delta.sum(0)


def ascending(delta: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's gradients, the second of the wrong sign."""
    return delta @ weight, -(delta.T @ x), delta.sum(0)


def negated(delta: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's gradients, the first of the wrong sign."""
    return -(delta @ weight), delta.T @ x, delta.sum(0)
