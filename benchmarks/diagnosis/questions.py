"""Models of the kind that people ask about: what they wrote, and what they should have written.

Each imitates a habit seen in questions and answers about networks that do not learn. The data are
drawn, with the scale, shape and number of samples that such questions have; the digits are those
that ship with the package. Keras' habits are kept where the question would be about Keras: Glorot's
uniform weights, biases of zero, losses on probabilities that are clamped before the logarithm.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from run import Batch, Problem, Run
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adadelta, Adam, Optimizer, RMSprop

from torchmlp.data.images.embedded import read_embedded

Data = Callable[[], Batch]
Net = Callable[[], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
Init = Callable[[Tensor], object]
Score = Callable[[nn.Module, list[Batch]], float]
Optim = Callable[[Iterable[nn.Parameter]], Optimizer]


@dataclass(frozen=True)
class MapConfig:
    """A run but for its seed; called with one it draws the data, then the weights."""

    data: Data
    net: Net
    loss: Loss
    optim: Optim
    score: Score
    batch: int = 32
    steps: int = 200

    def __call__(self, seed: int) -> Problem:
        """Seed everything and make the run."""
        torch.manual_seed(seed)
        x, y = self.data()
        model = self.net()
        rows = [slice(i, i + self.batch) for i in range(0, len(x), self.batch)]
        batches = [(x[r], y[r]) for r in rows]
        optimizer = self.optim(model.parameters())
        return Problem(model, self.loss, optimizer, batches, self.score, self.steps)


# What a model is made of.


def glorot(weight: Tensor) -> None:
    """Draw as Keras' Dense does."""
    nn.init.xavier_uniform_(weight)


def normal(std: float) -> Init:
    """Draw from a normal distribution, whatever the layer's width."""
    return lambda weight: nn.init.normal_(weight, 0.0, std)


def uniform(low: float, high: float) -> Init:
    """Draw uniformly, whatever the layer's width."""
    return lambda weight: nn.init.uniform_(weight, low, high)


def constant(value: float) -> Init:
    """Give every weight one value."""
    return lambda weight: nn.init.constant_(weight, value)


class NaiveSoftmax(nn.Module):
    """A softmax that does not subtract the largest score."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the exponentials."""
        return x.exp() / x.exp().sum(1, keepdim=True)


class NaiveSigmoid(nn.Module):
    """A sigmoid whose exponential overflows on the positive side."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide infinity by infinity where x is large."""
        return x.exp() / (1 + x.exp())


class NaiveTanh(nn.Module):
    """A hyperbolic tangent written as its definition."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide infinity by infinity where |x| is large."""
        return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())


class NaiveSoftplus(nn.Module):
    """A softplus written as its definition."""

    def forward(self, x: Tensor) -> Tensor:
        """Overflow where x is large."""
        return (1 + x.exp()).log()


def swapped(
    value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]
) -> type[nn.Module]:
    """A hand-written activation: its value, and what its author takes for its derivative."""

    class Written(torch.autograd.Function):
        """The activation with a backward of its own."""

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            """Keep the input."""
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            """Multiply by what is taken for the derivative."""
            return grads[0] * slope(ctx.saved_tensors[0])

    class Activation(nn.Module):
        """The activation as a module."""

        def forward(self, x: Tensor) -> Tensor:
            """Apply the hand-written function."""
            return Written.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    return Activation


class Rounded(nn.Module):
    """A sigmoid rounded to 0 and 1 within the model."""

    def forward(self, x: Tensor) -> Tensor:
        """Round: no gradient comes back."""
        return torch.sigmoid(x).round()


WRONG_TANH = swapped(torch.tanh, lambda x: 1 - x**2)
WRONG_SIGMOID = swapped(torch.sigmoid, lambda x: x * (1 - x))
NEGATED_RELU = swapped(torch.relu, lambda x: -(x > 0).float())
INVERTED_RELU = swapped(torch.relu, lambda x: (x <= 0).float())

ACTIVATIONS: dict[str, Net] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softmax": lambda: nn.Softmax(dim=1),
    "log-softmax": lambda: nn.LogSoftmax(dim=1),
    "softplus": nn.Softplus,
}


def dense(*parts: int | str | Net, init: Init | None = glorot, bias: float = 0.0) -> Net:
    """Sizes with activations between them; without `init` the weights are torch's own."""

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        width = 0
        for part in parts:
            if isinstance(part, int):
                if width:
                    layers.append(nn.Linear(width, part))
                width = part
            else:
                layers.append(ACTIVATIONS[part]() if isinstance(part, str) else part())
        return initialised(nn.Sequential(*layers), init, bias)

    return make


def initialised(model: nn.Sequential, init: Init | None, bias: float = 0.0) -> nn.Sequential:
    """Give the weights and biases of every layer their first values."""
    for layer in model if init else ():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert init is not None
            assert layer.bias is not None
            init(layer.weight)
            nn.init.constant_(layer.bias, bias)
    return model


def convolutional(*head: str) -> Net:
    """One convolution and pooling over the digits, one dense layer."""

    def make() -> nn.Module:
        layers = [nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 8, 5, stride=2), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 6 * 6, 10)]
        return initialised(nn.Sequential(*layers, *(ACTIVATIONS[h]() for h in head)), glorot)

    return make


def halved(net: Net) -> Net:
    """The same model in half precision."""
    return lambda: net().half()


def biased(net: Net, layer: int, bias: float) -> Net:
    """The same model, with one layer's biases set."""

    def make() -> nn.Module:
        model = net()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear)][layer - 1]
        nn.init.constant_(linear.bias, bias)
        return model

    return make


def sgd(lr: float, momentum: float = 0.0) -> Optim:
    """Gradient descent."""
    return lambda parameters: SGD(parameters, lr, momentum)


def adam(lr: float) -> Optim:
    """Adam with its other settings left alone."""
    return lambda parameters: Adam(parameters, lr)


# Losses: torch's where a torch question is meant, Keras' formulas where a Keras one is.


def keras_bce(p: Tensor, y: Tensor) -> Tensor:
    """Keras' binary_crossentropy on probabilities."""
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def keras_cce(p: Tensor, y: Tensor) -> Tensor:
    """Keras' categorical_crossentropy on probabilities, for classes or their one-hot code."""
    y = y if y.dim() > 1 else functional.one_hot(y, p.shape[1]).float()
    p = (p / p.sum(1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
    return -(y * p.log()).sum(1).mean()


def one_hot_mse(p: Tensor, y: Tensor) -> Tensor:
    """Keras' mse against the classes' one-hot code."""
    return functional.mse_loss(p, functional.one_hot(y, p.shape[1]).float())


def index_mse(p: Tensor, y: Tensor) -> Tensor:
    """Squared error against the class's number."""
    return functional.mse_loss(p, y.float().unsqueeze(1))


def broadcast_mse(p: Tensor, y: Tensor) -> Tensor:
    """Outputs (B, 1) less targets (B,): a table of B × B differences."""
    return ((p - y.flatten()) ** 2).mean()


def half_mse(p: Tensor, y: Tensor) -> Tensor:
    """Squared error in half precision."""
    return ((p - y.half()) ** 2).mean()


def half_cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy in half precision."""
    return -p.log_softmax(1).gather(1, y[:, None]).mean()


def naive_bce(p: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy without clamping."""
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def naive_cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    """The logarithm of a probability that may be zero."""
    return -(functional.one_hot(y, p.shape[1]) * p.softmax(1).log()).sum(1).mean()


def exponential_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy with its own exponentials."""
    p = z.exp() / z.exp().sum(1, keepdim=True)
    return -(p.gather(1, y[:, None]) + 1e-9).log().mean()


def naive_msle(p: Tensor, y: Tensor) -> Tensor:
    """Squared difference of logarithms, whatever the output's sign."""
    return ((p.log() - y.log()) ** 2).mean()


def hinge(p: Tensor, y: Tensor) -> Tensor:
    """Keras' hinge without its conversion of labels."""
    return (1 - y * p).clamp(min=0).mean()


def detached(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy through `.data`, plus a small penalty, which alone is differentiated."""
    return functional.cross_entropy(z.detach(), y) + 1e-3 * z.pow(2).mean()


def reported_error(z: Tensor, y: Tensor) -> Tensor:
    """Shows the share of mistakes but follows the squared scores."""
    mistakes = (z.argmax(1) != y).float().mean()
    followed = z.pow(2).mean()
    return mistakes + followed - followed.detach()


def reported_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """Shows cross-entropy but follows the error to the labels of the next sample."""
    followed = functional.cross_entropy(z, y.roll(1))
    return functional.cross_entropy(z, y).detach() + followed - followed.detach()


def ascended(p: Tensor, y: Tensor) -> Tensor:
    """A hand-written cross-entropy whose gradient has the wrong sign."""
    value = functional.cross_entropy(p, y)
    return 2 * value.detach() - value


def weighted_bce(weight: float) -> Loss:
    """Binary cross-entropy on scores with the rare class weighted."""
    return nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))


def weighted_cross_entropy(*weights: float) -> Loss:
    """Cross-entropy with weighted classes."""
    return nn.CrossEntropyLoss(torch.tensor(weights))


BCE, LOGITS, MSE, CE, NLL = (
    nn.BCELoss(),
    nn.BCEWithLogitsLoss(),
    nn.MSELoss(),
    nn.CrossEntropyLoss(),
    nn.NLLLoss(),
)


# Scores.


@torch.no_grad()
def _outputs(model: nn.Module, batches: list[Batch]) -> Batch:
    xs, ys = zip(*batches, strict=True)
    model.eval()
    out = torch.cat([model(x) for x in xs]).float()
    model.train()
    return out, torch.cat(ys)


def argmax(model: nn.Module, batches: list[Batch]) -> float:
    """Accuracy of the largest output."""
    out, y = _outputs(model, batches)
    return (out.argmax(1) == (y if y.dim() == 1 else y.argmax(1))).float().mean().item()


def nearest(model: nn.Module, batches: list[Batch]) -> float:
    """Accuracy of the output rounded to a class's number; of the largest where there are many."""
    out, y = _outputs(model, batches)
    guess = out.argmax(1) if out.shape[1] > 1 else out[:, 0].round()
    return (guess == y).float().mean().item()


def balanced_argmax(model: nn.Module, batches: list[Batch]) -> float:
    """The classes' mean recall; a class without samples counts as missed."""
    out, y = _outputs(model, batches)
    hits = (out.argmax(1) == y).float()
    return sum(hits[y == k].mean().nan_to_num().item() for k in range(out.shape[1])) / out.shape[1]


def above(out_cut: float, label_cut: float = 0.5) -> Score:
    """Balanced accuracy of outputs above a threshold, label by label."""

    def score(model: nn.Module, batches: list[Batch]) -> float:
        out, y = _outputs(model, batches)
        guess, label = out > out_cut, y.reshape(out.shape) > label_cut
        guess = guess & out.isfinite()
        recalls = [guess[label], ~guess[~label]]
        return sum(r.float().mean().nan_to_num().item() for r in recalls) / 2

    return score


def r2(model: nn.Module, batches: list[Batch]) -> float:
    """Explained variance; none where the targets do not vary."""
    out, y = _outputs(model, batches)
    y = y.float().reshape(out.shape)
    total = ((y - y.mean(0)) ** 2).sum()
    return (1 - ((out - y) ** 2).sum() / total).item() if total > 0 else 0.0


# Data. Tables hold their columns in the units that people have them in.


def columns(n: int, *specs: tuple[float, float, float, float]) -> Tensor:
    """Columns of n rows from (mean, standard deviation, least, most)."""
    return torch.stack([(m + s * torch.randn(n)).clamp(lo, hi) for m, s, lo, hi in specs], 1)


def split(score: Tensor, share: float = 0.5) -> Tensor:
    """Labels (N, 1): 1 for the `share` of rows with the highest scores."""
    return (score > score.quantile(1 - share)).float().unsqueeze(1)


def z(x: Tensor) -> Tensor:
    """Standardised columns."""
    return (x - x.mean(0)) / x.std(0)


def scaled(data: Data, *, target: bool = False) -> Data:
    """Standardise the inputs, and perhaps the targets."""

    def make() -> Batch:
        x, y = data()
        return z(x), z(y) if target else y

    return make


def changed(
    data: Data,
    x: Callable[[Tensor], Tensor] | None = None,
    y: Callable[[Tensor], Tensor] | None = None,
) -> Data:
    """Apply something to the inputs or targets."""

    def make() -> Batch:
        inputs, targets = data()
        return x(inputs) if x else inputs, y(targets) if y else targets

    return make


def xor() -> Batch:
    """The four rows of the truth table."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, (x[:, :1] != x[:, 1:]).float()


def iris() -> Batch:
    """150 flowers of three kinds, four lengths in centimetres."""
    means = torch.tensor([[5.0, 3.4, 1.5, 0.25], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    y = torch.arange(3).repeat_interleave(50)[torch.randperm(150)]
    return means[y] + torch.randn(150, 4) * torch.tensor([0.4, 0.3, 0.3, 0.2]), y


def pima() -> Batch:
    """768 patients: pregnancies, glucose, pressure, skin, insulin, mass, pedigree, age."""
    x = columns(
        768,
        (3.8, 3.4, 0, 17),
        (121, 31, 44, 199),
        (69, 19, 24, 122),
        (20, 16, 0, 99),
        (80, 115, 0, 846),
        (32, 7.9, 18, 67),
        (0.47, 0.33, 0.08, 2.4),
        (33, 11.8, 21, 81),
    )
    s = z(x)
    risk = 1.5 * s[:, 1] + 0.8 * s[:, 5] + 0.6 * s[:, 7] + 0.4 * s[:, 6]
    return x, split(risk + 0.3 * torch.randn(768), 0.4)


def purchases() -> Batch:
    """400 customers: age, yearly salary; whether they buy."""
    x = columns(400, (38, 10, 18, 60), (70000, 34000, 15000, 150000))
    s = z(x)
    return x, split(s[:, 0] + 0.7 * s[:, 1] + 0.5 * s[:, 0] * s[:, 1], 0.4)


def tumours() -> Batch:
    """569 tumours, 30 measures from thousandths to thousands; malign or not."""
    scale = 10 ** torch.linspace(-2, 3, 30)
    y = torch.bernoulli(torch.full((569, 1), 0.4))
    return scale * (1 + 0.3 * torch.randn(569, 30) + 0.25 * y).abs(), y


def houses() -> Batch:
    """500 houses: square feet, bedrooms, age, distance; their price."""
    x = columns(500, (2000, 700, 500, 5000), (3, 1.3, 0, 6), (30, 18, 0, 100), (12, 6, 0.5, 40))
    x[:, 1] = x[:, 1].round()
    s = z(x)
    noise = torch.randn(500)
    price = 320000 + 110000 * s[:, 0] - 30000 * s[:, 2] - 40000 * s[:, 3] * (s[:, 0] > 0)
    return x, (price + 15000 * noise).clamp(min=50000).unsqueeze(1)


def boston() -> Batch:
    """506 districts with 13 features as the old data set scales them; price in thousands."""
    x = columns(
        506,
        (3.6, 8.6, 0, 89),
        (11, 23, 0, 100),
        (11, 6.9, 0.5, 28),
        (0.07, 0.25, 0, 1),
        (0.55, 0.12, 0.38, 0.87),
        (6.3, 0.7, 3.5, 8.8),
        (69, 28, 3, 100),
        (3.8, 2.1, 1.1, 12),
        (9.5, 8.7, 1, 24),
        (408, 168, 187, 711),
        (18.5, 2.2, 12.6, 22),
        (357, 91, 0.3, 397),
        (12.6, 7.1, 1.7, 38),
    )
    s = z(x)
    price = 22.5 + 4 * s[:, 5] - 4 * s[:, 12] - 2 * s[:, 10] + 2 * s[:, 5].clamp(min=0)
    return x, (price + torch.randn(506)).clamp(5, 50).unsqueeze(1)


@cache
def _digits() -> Batch:
    digits = read_embedded()
    return digits.train_images.reshape(-1, 784).float(), digits.train_labels


def pixels() -> Batch:
    """2000 digits, pixels 0 to 255."""
    x, y = _digits()
    rows = torch.randperm(len(x))[:2000]
    return x[rows], y[rows]


def digits() -> Batch:
    """2000 digits, pixels 0 to 1."""
    x, y = pixels()
    return x / 255, y


def images() -> Batch:
    """Digits to be rebuilt."""
    x, _ = digits()
    return x, x


def sine(low: float = -math.pi, high: float = math.pi) -> Data:
    """1000 points of the sine."""

    def make() -> Batch:
        x = torch.rand(1000, 1) * (high - low) + low
        return x, torch.sin(x)

    return make


def power(exponent: int, reach: float, n: int = 1000) -> Data:
    """Points of x raised to a power."""

    def make() -> Batch:
        x = (torch.rand(n, 1) * 2 - 1) * reach
        return x, x**exponent

    return make


def sums() -> Batch:
    """1000 pairs of numbers up to 1000, and their sum."""
    x = torch.randint(0, 1000, (1000, 2)).float()
    return x, x.sum(1, keepdim=True)


def line(n: int = 200) -> Data:
    """The numbers below n, and twice each."""

    def make() -> Batch:
        x = torch.arange(n).float()[torch.randperm(n)].unsqueeze(1)
        return x, 2 * x

    return make


def celsius() -> Batch:
    """Seven temperatures, and what they are in Fahrenheit."""
    x = torch.tensor([[-40.0], [-10.0], [0.0], [8.0], [15.0], [22.0], [38.0]])
    return x, 1.8 * x + 32


def marks() -> Batch:
    """300 pupils: hours slept, studied, at a screen, at play; marks out of 50."""
    x = columns(300, (7, 1.2, 3, 10), (3, 1.5, 0, 9), (3, 1.5, 0, 10), (1.5, 0.8, 0, 5))
    points = 12 + 5 * x[:, 1] + 2 * x[:, 0] - 1.5 * x[:, 2] + torch.randn(300)
    return x, points.clamp(0, 50).unsqueeze(1)


def windows(level: float, swing: float, rise: float, n: int = 400, width: int = 12) -> Data:
    """A series with a season and a trend; twelve values foretell the next."""

    def make() -> Batch:
        t = torch.arange(n + width).float()
        series = level + rise * t / n + swing * torch.sin(t * math.tau / 12)
        series = series + 0.1 * swing * torch.randn(n + width)
        order = torch.randperm(n)
        return series.unfold(0, width, 1)[:n][order], series[width:][order].unsqueeze(1)

    return make


def tags() -> Batch:
    """1000 texts with 5 tags of which several hold at once."""
    x = torch.randn(1000, 20)
    return x, (x @ torch.randn(20, 5) > 0).float()


def fraud(share: float) -> Data:
    """2000 payments of which few are fraudulent, their 10 features overlapping."""

    def make() -> Batch:
        y = (torch.rand(2000, 1) < share).float()
        return torch.randn(2000, 10) + 0.55 * y, y

    return make


def defects() -> Batch:
    """2000 parts: most sound, two rare kinds of defect that look much like them."""
    y = torch.multinomial(torch.tensor([0.96, 0.025, 0.015]), 2000, replacement=True)
    means = torch.zeros(3, 12)
    means[1, :6], means[2, 6:] = 0.9, 0.9
    return torch.randn(2000, 12) + means[y], y


def passengers() -> Batch:
    """891 passengers: class, sex, age, siblings, parents, fare; who survives."""
    x = columns(
        891,
        (2.3, 0.8, 1, 3),
        (0.35, 0.5, 0, 1),
        (30, 14, 0.5, 80),
        (0.5, 1, 0, 8),
        (0.4, 0.8, 0, 6),
        (32, 49, 0, 512),
    )
    x[:, 0], x[:, 1] = x[:, 0].round(), x[:, 1].round()
    s = z(x)
    return x, split(1.2 * s[:, 1] - s[:, 0] - 0.4 * s[:, 2] + 0.3 * torch.randn(891), 0.4)


def circles() -> Batch:
    """One ring within another."""
    y = torch.randint(0, 2, (500,))
    angle, radius = torch.rand(500) * math.tau, 1 - 0.5 * y + 0.08 * torch.randn(500)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y.float().unsqueeze(1)


def spiral() -> Batch:
    """Three arms of 100 points each."""
    y = torch.arange(3).repeat_interleave(100)[torch.randperm(300)]
    r = torch.rand(300)
    angle = r * 4 + y * math.tau / 3 + 0.1 * torch.randn(300)
    return torch.stack([r * angle.sin(), r * angle.cos()], 1), y


def reviews() -> Batch:
    """1000 reviews as counts of 500 words, 25 of which speak for and 25 against."""
    y = torch.randint(0, 2, (1000, 1)).float()
    rate = torch.full((1000, 500), 0.05)
    rate[:, :25] += 0.12 * y
    rate[:, 25:50] += 0.12 * (1 - y)
    return (torch.rand(1000, 500) < rate).float(), y


def wine() -> Batch:
    """1200 wines, 11 measures, quality from 1 to 5."""
    x = columns(1200, *[(10**k, 0.3 * 10**k, 0, 10 ** (k + 1)) for k in (0.9, -0.3, -0.5, 0.4)])
    x = torch.cat([x, columns(1200, *[(m, s, 0, 300) for m, s in ((46, 32), (3.3, 0.15))])], 1)
    s = z(x)
    score = s[:, 0] - s[:, 1] + 0.5 * s[:, 4]
    cuts = torch.stack([score.quantile(q) for q in (0.2, 0.4, 0.6, 0.8)])
    return x, torch.bucketize(score, cuts) + 1


def returns() -> Batch:
    """1000 days: 8 indicators, the next day's return in per cent, of either sign."""
    x = torch.randn(1000, 8)
    gain = 0.8 * x[:, 0] - 0.6 * x[:, 1] * x[:, 2].sign() + 0.1 * torch.randn(1000)
    return x, gain.unsqueeze(1)


def fizzbuzz() -> Batch:
    """The numbers from 101 to 1023 in binary; plain, fizz, buzz or both."""
    n = torch.arange(101, 1024)[torch.randperm(923)]
    fizz, buzz = (n % 3 == 0).long(), (n % 5 == 0).long()
    return (n[:, None] >> torch.arange(10) & 1).float(), fizz + 2 * buzz


def without(share: float, column: int, value: float = math.nan) -> Callable[[Tensor], Tensor]:
    """Leave some of a column's cells empty, or with another value."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[torch.randperm(len(x))[: max(1, round(share * len(x)))], column] = value
        return x

    return change


def with_ratio(x: Tensor) -> Tensor:
    """Add square feet per bedroom; studios have none."""
    return torch.cat([z(x), x[:, :1] / 1000 / x[:, 1:2]], 1)


def with_constant(x: Tensor) -> Tensor:
    """Standardise with a column that never varies."""
    return z(torch.cat([x, torch.ones(len(x), 1)], 1))


def with_log(x: Tensor) -> Tensor:
    """Take the logarithm of counts, some of which are zero."""
    return torch.cat([z(x), x[:, :1].round().log()], 1)


def shuffled(y: Tensor) -> Tensor:
    """Shuffle the targets alone."""
    return y[torch.randperm(len(y))]


def by_class(data: Data) -> Data:
    """Leave the file in its order, one class after another."""

    def make() -> Batch:
        x, y = data()
        order = y.flatten().argsort(stable=True)
        return x[order], y[order]

    return make


# The right versions, which are the healthy runs and the sick ones' twins.

XOR = MapConfig(xor, dense(2, 8, "tanh", 1, "sigmoid"), BCE, adam(0.05), above(0.5), 4, 300)
XOR_MSE = replace(XOR, loss=MSE, optim=sgd(1.0, 0.9), steps=400)
XOR_BCE = replace(XOR_MSE, loss=keras_bce)
IRIS = MapConfig(iris, dense(4, 16, "relu", 3, init=None), CE, adam(0.01), argmax)
IRIS_KERAS = replace(IRIS, net=dense(4, 16, "relu", 3, "softmax"), loss=keras_cce)
PIMA = MapConfig(
    scaled(pima), dense(8, 12, "relu", 8, "relu", 1, "sigmoid"), keras_bce, adam(0.01), above(0.5)
)
PIMA_TORCH = replace(PIMA, net=dense(8, 16, "relu", 1, init=None), loss=LOGITS, score=above(0.0))
PURCHASES = MapConfig(
    scaled(purchases), dense(2, 16, "relu", 1, "sigmoid"), BCE, adam(0.02), above(0.5)
)
TUMOURS = MapConfig(
    scaled(tumours), dense(30, 16, "relu", 1, "sigmoid"), BCE, adam(0.01), above(0.5)
)
HOUSES = MapConfig(scaled(houses, target=True), dense(4, 32, "relu", 1), MSE, adam(0.01), r2)
BOSTON = MapConfig(scaled(boston, target=True), dense(13, 32, "relu", 1), MSE, adam(0.01), r2)
DIGITS = MapConfig(digits, dense(784, 128, "relu", 10, init=None), CE, adam(0.003), argmax, 64)
DIGITS_KERAS = replace(DIGITS, net=dense(784, 128, "relu", 10, "softmax"), loss=keras_cce)
DIGITS_DEEP = replace(DIGITS, net=dense(784, *(64, "relu") * 4, 10, init=nn.init.kaiming_normal_))
DIGITS_SGD = replace(DIGITS, optim=sgd(0.1, 0.9))
DIGITS_CONV = replace(DIGITS, net=convolutional())
IMAGES = MapConfig(images, dense(784, 128, "relu", 784, "sigmoid"), BCE, adam(0.003), r2, 32, 400)
SINE = MapConfig(sine(), dense(1, 64, "tanh", 1, init=None), MSE, adam(0.02), r2, steps=300)
SINE_DEEP = replace(SINE, net=dense(1, *(32, "tanh") * 3, 1), optim=adam(0.005))
SQUARE = MapConfig(
    scaled(power(2, 10), target=True), dense(1, 32, "relu", 1, init=None), MSE, adam(0.02), r2
)
SUMS = MapConfig(
    changed(sums, lambda x: x / 1000, lambda y: y / 1000), dense(2, 1), MSE, sgd(0.2), r2
)
LINE = MapConfig(
    changed(line(), lambda x: x / 200, lambda y: y / 200), dense(1, 1), MSE, sgd(0.5), r2
)
CELSIUS = MapConfig(celsius, dense(1, 1), MSE, adam(0.5), r2, 7, 500)
MARKS = MapConfig(
    changed(scaled(marks), y=lambda y: y / 50), dense(4, 16, "relu", 1), MSE, adam(0.02), r2
)
WINDOWS = MapConfig(
    scaled(windows(280, 120, 200), target=True), dense(12, 24, "relu", 1), MSE, adam(0.01), r2
)
TAGS = MapConfig(tags, dense(20, 32, "relu", 5, "sigmoid"), BCE, adam(0.01), above(0.5), steps=300)
FRAUD = MapConfig(fraud(0.03), dense(10, 16, "relu", 1), weighted_bce(32.0), adam(0.01), above(0.0))
DEFECTS = MapConfig(
    defects,
    dense(12, 16, "relu", 3),
    weighted_cross_entropy(1.0, 38.0, 64.0),
    adam(0.01),
    balanced_argmax,
    64,
)
PASSENGERS = MapConfig(
    scaled(passengers), dense(6, 16, "relu", 1, "sigmoid"), BCE, adam(0.01), above(0.5)
)
CIRCLES = MapConfig(circles, dense(2, 32, "relu", 1, "sigmoid"), BCE, adam(0.02), above(0.5))
SPIRAL = MapConfig(
    spiral, dense(2, 64, "relu", 64, "relu", 3, init=None), CE, adam(0.01), argmax, steps=400
)
REVIEWS = MapConfig(reviews, dense(500, 16, "relu", 1, "sigmoid"), BCE, adam(0.005), above(0.5))
WINE = MapConfig(
    changed(scaled(wine), y=lambda y: y - 1),
    dense(6, 32, "relu", 5),
    CE,
    adam(0.02),
    argmax,
    steps=400,
)
RETURNS = MapConfig(returns, dense(8, 32, "relu", 1), MSE, adam(0.01), r2, steps=400)

FIZZBUZZ = MapConfig(
    fizzbuzz, dense(10, 128, "relu", 4, init=None), CE, adam(0.02), argmax, 128, 500
)
DIGITS_NLL = replace(DIGITS, net=dense(784, 128, "relu", 10, "log-softmax", init=None), loss=NLL)
BATCHNORM = replace(
    PURCHASES, net=dense(2, 16, lambda: nn.BatchNorm1d(16), "relu", 1, "sigmoid"), steps=300
)
DROPOUT = replace(DIGITS_KERAS, net=dense(784, 256, "relu", lambda: nn.Dropout(0.2), 10, "softmax"))
LEAKY = replace(
    BOSTON, net=dense(13, *(32, nn.LeakyReLU) * 3, 1), optim=lambda p: RMSprop(p, 0.002)
)

CORRECTED: list[Run] = [
    Run(f"{name}-corrected", recipe)
    for name, recipe in {
        "xor": XOR,
        "xor-mse": XOR_MSE,
        "xor-sgd": XOR_BCE,
        "iris": IRIS,
        "iris-keras": IRIS_KERAS,
        "pima": PIMA,
        "pima-torch": PIMA_TORCH,
        "purchases": PURCHASES,
        "tumours": TUMOURS,
        "houses": HOUSES,
        "boston": BOSTON,
        "digits": DIGITS,
        "digits-keras": DIGITS_KERAS,
        "digits-deep": DIGITS_DEEP,
        "digits-sgd": DIGITS_SGD,
        "digits-conv": DIGITS_CONV,
        "images": IMAGES,
        "sine": SINE,
        "sine-deep": SINE_DEEP,
        "square": SQUARE,
        "sums": SUMS,
        "line": LINE,
        "celsius": CELSIUS,
        "marks": MARKS,
        "windows": WINDOWS,
        "tags": TAGS,
        "fraud": FRAUD,
        "defects": DEFECTS,
        "passengers": PASSENGERS,
        "circles": CIRCLES,
        "spiral": SPIRAL,
        "reviews": REVIEWS,
        "wine": WINE,
        "returns": RETURNS,
        "fizzbuzz": FIZZBUZZ,
        "purchases-with-batch-norm": BATCHNORM,
        "digits-nll": DIGITS_NLL,
        "digits-with-dropout": DROPOUT,
        "boston-leaky-by-rmsprop": LEAKY,
    }.items()
]

FAULTY: list[Run] = []


def because(*causes: str, at: tuple[int | None, ...] = ()) -> Callable[..., None]:
    """What adds a run that these causes explain, the best of them first: name, twin, changes."""

    def add(name: str, twin: MapConfig, **changes: Any) -> None:
        FAULTY.append(Run(name, replace(twin, **changes), causes, at, twin))

    return add


# Inputs as they came.

sick = because("input-not-normalized", "saturation", at=(1, None))
sick(
    "purchases-with-salaries-into-sigmoids",
    PURCHASES,
    data=purchases,
    net=dense(2, 6, "sigmoid", 6, "sigmoid", 1, "sigmoid"),
)
sick(
    "tumours-unscaled-into-sigmoids",
    TUMOURS,
    data=tumours,
    net=dense(30, 16, "sigmoid", 1, "sigmoid"),
    optim=sgd(0.1),
)
sick(
    "digits-pixels-to-255-into-sigmoids",
    DIGITS,
    data=pixels,
    net=dense(784, 30, "sigmoid", 10),
    optim=sgd(0.1),
)
sick("sine-of-0-to-1000-into-tanh", SINE, data=changed(sine(), lambda x: (x + math.pi) * 160))

sick = because(
    "input-not-normalized",
    "dead-units",
    "saturation",
    "learning-rate-too-high",
    "exploding-gradient",
    at=(1, None),
)
sick("purchases-with-salaries-into-relu-by-sgd", PURCHASES, data=purchases, optim=sgd(0.01))

sick = because("input-not-normalized", "dead-units", "saturation", at=(1, None))
sick("pima-unscaled-by-sgd", PIMA, data=pima, optim=sgd(0.1))

sick = because("input-not-normalized", "learning-rate-too-high", "exploding-gradient", at=(1, None))
sick(
    "houses-unscaled-price-in-thousands-nan",
    HOUSES,
    data=changed(houses, y=lambda y: y / 1000),
    optim=sgd(0.01),
)
sick(
    "boston-unscaled-sgd-nan",
    BOSTON,
    data=boston,
    net=dense(13, 13, "relu", 6, "relu", 1),
    optim=sgd(0.01),
)

sick = because(
    "input-not-normalized",
    "learning-rate-too-high",
    "dead-units",
    "exploding-gradient",
    "saturation",
    at=(1, None),
)
sick("digits-pixels-to-255-by-sgd", DIGITS_KERAS, data=pixels, optim=sgd(0.01))

sick = because(
    "input-not-normalized",
    "learning-rate-too-high",
    "dead-units",
    "exploding-gradient",
    at=(1, None),
)
sick("conv-pixels-to-255-by-sgd", DIGITS_CONV, data=pixels, optim=sgd(0.05, 0.9))

sick = because("input-not-normalized", "target-out-of-range", "saturation", "learning-rate-too-low")
sick(
    "fourth-power-of-100-through-sigmoid",
    replace(SQUARE, data=scaled(power(4, 100), target=True)),
    data=power(4, 100),
    net=dense(1, 50, "sigmoid", 50, "softplus", 1),
)

sick = because("learning-rate-too-high", "input-not-normalized", "exploding-gradient")
sick("line-of-200-numbers-nan", LINE, data=line(), optim=sgd(0.001), batch=1)

sick = because("input-not-normalized", "learning-rate-too-high", "exploding-gradient")
sick("sums-up-to-1000-nan", SUMS, data=sums, net=dense(2, 8, "relu", 1), optim=sgd(0.01))

sick = because("input-not-normalized", "saturation", "target-out-of-range")
sick(
    "series-of-thousands-into-tanh",
    WINDOWS,
    data=windows(3000, 900, 800),
    net=dense(12, 24, "tanh", 1),
)


# Inputs that are no numbers.

sick = because("input-non-finite")
sick("passengers-without-age", PASSENGERS, data=changed(scaled(passengers), without(0.2, 2)))
sick("houses-per-bedroom", HOUSES, data=changed(houses, with_ratio, z), net=dense(5, 32, "relu", 1))
sick(
    "houses-scaled-by-a-constant-column",
    HOUSES,
    data=changed(scaled(houses, target=True), with_constant),
    net=dense(5, 32, "relu", 1),
)
sick(
    "pima-log-of-no-pregnancies",
    PIMA,
    data=changed(pima, with_log),
    net=dense(9, 12, "relu", 1, "sigmoid"),
)
sick("one-empty-cell-by-adam", BOSTON, data=changed(scaled(boston, target=True), without(0.002, 4)))


# Labels.

sick = because("labels-constant")
sick("pima-labels-all-parsed-as-zero", PIMA, data=changed(scaled(pima), y=lambda y: 0 * y))
sick(
    "marks-divided-then-cast-to-int",
    MARKS,
    data=changed(MARKS.data, y=lambda y: (y / 1.01).int().float()),
)

sick = because("labels-unrelated")
sick("pima-labels-shuffled-alone", PIMA, data=changed(scaled(pima), y=shuffled))
sick("digits-labels-shuffled-alone", DIGITS, data=changed(digits, y=shuffled))
sick("houses-rows-joined-wrongly", HOUSES, data=changed(scaled(houses, target=True), y=shuffled))

sick = because("target-out-of-range", "output-loss-mismatch")
sick("iris-classes-from-one", IRIS, data=changed(iris, y=lambda y: y + 1))
sick("wine-quality-one-to-five", WINE, data=scaled(wine))
sick(
    "pima-labels-one-and-two",
    PIMA,
    data=changed(scaled(pima), y=lambda y: y + 1),
    score=above(0.5, 1.5),
)
sick(
    "circles-labels-minus-one-and-one",
    CIRCLES,
    data=changed(circles, y=lambda y: 2 * y - 1),
    loss=keras_bce,
    score=above(0.5, 0.0),
)
sick(
    "digits-number-by-one-sigmoid",
    DIGITS,
    net=dense(784, 64, "relu", 1, "sigmoid"),
    loss=lambda p, y: keras_bce(p, y.float().unsqueeze(1)),
    score=nearest,
)
sick("sine-by-sigmoid", SINE, net=dense(1, 64, "tanh", 1, "sigmoid"))
sick(
    "xor-minus-one-and-one-by-sigmoid-mse",
    XOR_MSE,
    data=changed(xor, y=lambda y: 2 * y - 1),
    score=above(0.0, 0.0),
)

sick = because("target-out-of-range", "output-loss-mismatch", "saturation")
sick("marks-out-of-50-by-sigmoid", MARKS, data=scaled(marks), net=dense(4, 8, "relu", 1, "sigmoid"))
sick("series-scaled-by-sigmoid", WINDOWS, net=dense(12, 24, "relu", 1, "sigmoid"))

sick = because("target-out-of-range", "input-not-normalized", "output-loss-mismatch", "saturation")
sick(
    "windows-raw-by-tanh",
    WINDOWS,
    data=windows(280, 120, 200),
    net=dense(12, 24, "relu", 1, "tanh"),
)

sick = because("target-out-of-range", "input-not-normalized", "saturation", "output-loss-mismatch")
sick("images-to-255-by-sigmoid", IMAGES, data=changed(images, y=lambda y: y * 255), loss=MSE)

sick = because("target-out-of-range", "saturation", "output-loss-mismatch")
sick("images-to-255-by-bce", IMAGES, data=changed(images, y=lambda y: y * 255), loss=keras_bce)

sick = because("target-out-of-range", "output-loss-mismatch", "dead-units")
sick("sine-by-relu", SINE, net=dense(1, 64, "tanh", 1, "relu"))
sick("returns-by-relu", RETURNS, net=dense(8, 32, "relu", 1, "relu"))

sick = because("target-out-of-range", "learning-rate-too-low", "too-few-steps")
sick("houses-price-in-dollars-by-adam", HOUSES, data=scaled(houses), optim=adam(0.001))

sick = because("class-imbalance")
sick("fraud-three-in-a-hundred", FRAUD, loss=LOGITS)
sick(
    "fraud-one-in-a-hundred-keras",
    replace(FRAUD, data=fraud(0.01), loss=weighted_bce(99.0)),
    net=dense(10, 16, "relu", 1, "sigmoid"),
    loss=keras_bce,
    score=above(0.5),
)
sick("defects-rare", DEFECTS, loss=CE, optim=adam(0.003))


# Outputs that do not go with the loss.

sick = because("softmax-over-one-unit", at=(2, None))
sick("xor-by-one-softmax-unit", XOR, net=dense(2, 8, "sigmoid", 1, "softmax"), loss=keras_bce)
sick("reviews-by-one-softmax-unit-bce", REVIEWS, net=dense(500, 16, "relu", 1, "softmax"))

sick = because("softmax-over-one-unit", at=(3, None))
sick("pima-by-one-softmax-unit", PIMA, net=dense(8, 12, "relu", 8, "relu", 1, "softmax"))

sick = because("softmax-over-one-unit", "target-out-of-range", at=(2, None))
sick("houses-by-one-softmax-unit", HOUSES, net=dense(4, 32, "relu", 1, "softmax"))

sick = because("output-loss-mismatch", "softmax-over-one-unit", at=(3, None))
sick("pima-one-unit-categorical", PIMA, loss=keras_cce)

sick = because("softmax-over-one-unit", "output-loss-mismatch", at=(2, None))
sick(
    "circles-one-unit-cross-entropy",
    CIRCLES,
    net=dense(2, 32, "relu", 1),
    loss=CE,
    score=above(0.0),
)

sick = because("output-loss-mismatch")
sick(
    "digits-softmax-then-cross-entropy",
    DIGITS_SGD,
    net=dense(784, 128, "relu", 64, "relu", 10, "softmax", init=None),
    optim=sgd(0.1),
)
sick("pima-sigmoid-twice", PIMA_TORCH, net=dense(8, 16, "relu", 1, "sigmoid", init=None))
sick(
    "digits-nll-on-softmax",
    DIGITS,
    net=dense(784, 128, "relu", 10, "softmax", init=None),
    loss=NLL,
    optim=sgd(0.05),
)
sick("digits-mse-on-softmax-by-sgd", DIGITS_KERAS, loss=one_hot_mse, optim=sgd(0.01))
sick(
    "digits-mse-to-the-number",
    DIGITS,
    net=dense(784, 128, "relu", 1),
    loss=index_mse,
    score=nearest,
)
sick("tags-by-softmax", TAGS, net=dense(20, 32, "relu", 5, "softmax"), loss=keras_cce)
sick("tags-by-softmax-bce", TAGS, net=dense(20, 32, "relu", 5, "softmax"))

sick = because("shape-broadcast")
sick("houses-broadcast", HOUSES, loss=broadcast_mse)
sick("returns-broadcast", RETURNS, loss=broadcast_mse)
sick("pima-broadcast-by-mse", PIMA, loss=broadcast_mse)

sick = because("missing-output-activation", "output-loss-mismatch", at=(2, None))
sick("iris-nll-on-scores", IRIS, loss=NLL)
sick("digits-nll-on-scores", DIGITS, loss=NLL)
sick(
    "circles-keras-bce-on-linear",
    CIRCLES,
    net=dense(2, 32, "relu", 1),
    loss=keras_bce,
    optim=adam(0.001),
)
sick("digits-keras-categorical-on-linear", DIGITS_KERAS, net=dense(784, 128, "relu", 10))

sick = because("missing-output-activation", "output-loss-mismatch", at=(3, None))
sick("pima-bce-on-scores", PIMA, net=dense(8, 12, "relu", 8, "relu", 1), loss=BCE)

sick = because("output-loss-mismatch", "missing-output-activation", at=(2, None))
sick("xor-keras-bce-on-tanh", XOR_BCE, net=dense(2, 8, "tanh", 1, "tanh"))
sick("iris-keras-categorical-on-tanh", IRIS_KERAS, net=dense(4, 16, "relu", 3, "tanh"))

sick = because("output-loss-mismatch", "missing-output-activation", "dead-units", at=(3, None))
sick(
    "pima-keras-bce-on-relu",
    PIMA,
    net=dense(8, 12, "relu", 8, "relu", 1, "relu"),
    optim=adam(0.001),
)

sick = because("output-loss-mismatch", "missing-output-activation", "dead-units", at=(2, None))
sick("passengers-bce-on-relu", PASSENGERS, net=dense(6, 16, "relu", 1, "relu"))
sick("digits-keras-categorical-on-relu", DIGITS_KERAS, net=dense(784, 128, "relu", 10, "relu"))

sick = because("target-out-of-range", "output-loss-mismatch")
sick(
    "iris-mse-to-the-number-by-sigmoid",
    IRIS,
    net=dense(4, 16, "relu", 1, "sigmoid"),
    loss=index_mse,
    score=nearest,
)

sick = because("output-loss-mismatch", "target-out-of-range")
sick(
    "pima-hinge-on-zero-and-one",
    PIMA,
    net=dense(8, 12, "relu", 8, "relu", 1),
    loss=hinge,
    score=above(0.0),
)

sick = because("vanishing-gradient", "wrong-gradient", "output-loss-mismatch")
sick("passengers-rounded-in-the-model", PASSENGERS, net=dense(6, 16, "relu", 1, Rounded), loss=MSE)


# Activations.

sick = because("missing-nonlinearity")
sick("xor-linear", XOR, net=dense(2, 8, 1, "sigmoid"))
sick("circles-linear", CIRCLES, net=dense(2, 32, 16, 1, "sigmoid"))
sick("spiral-linear", SPIRAL, net=dense(2, 64, 64, 3, init=None))
sick("square-linear", SQUARE, net=dense(1, 32, 32, 1, init=None))
sick("sine-linear", replace(SINE, data=sine(0, 6.28)), net=dense(1, 64, 64, 1, init=None))

sick = because("unstable-softmax", "input-not-normalized")
sick(
    "digits-pixels-naive-softmax",
    DIGITS,
    data=pixels,
    net=dense(784, 64, "relu", 10, NaiveSoftmax),
    loss=keras_cce,
)
sick(
    "purchases-naive-softmax",
    PURCHASES,
    data=changed(purchases, y=lambda y: torch.cat([1 - y, y], 1)),
    net=dense(2, 16, "relu", 2, NaiveSoftmax),
    loss=keras_cce,
    score=argmax,
)

sick = because("unstable-softmax", "init-too-large")
sick(
    "digits-exponentials-in-the-loss",
    DIGITS,
    net=dense(784, 128, "relu", 10, init=normal(1.0)),
    loss=exponential_cross_entropy,
)

sick = because("unstable-activation", "input-not-normalized")
sick("pima-naive-sigmoid", PIMA, data=pima, net=dense(8, 12, NaiveSigmoid, 1, "sigmoid"))
sick(
    "sine-of-1000-naive-tanh",
    SINE,
    data=changed(sine(), lambda x: (x + math.pi) * 160),
    net=dense(1, 64, NaiveTanh, 1),
)
sick("boston-naive-softplus", BOSTON, data=boston, net=dense(13, 16, NaiveSoftplus, 1))

sick = because("log-of-zero", "saturation", "input-not-normalized")
sick("tumours-naive-bce", TUMOURS, data=tumours, loss=naive_bce)

sick = because("log-of-zero", "late-divergence")
sick("tumours-naive-bce-after-a-while", TUMOURS, loss=naive_bce, steps=300)

sick = because("log-of-zero", "input-not-normalized", "unstable-softmax")
sick("digits-log-of-softmax", DIGITS, data=pixels, loss=naive_cross_entropy)

sick = because("log-of-zero", "missing-output-activation")
sick(
    "houses-log-of-negative-output",
    HOUSES,
    data=changed(scaled(houses), y=lambda y: y / 1e5),
    loss=naive_msle,
)

sick = because("log-of-zero", "dead-units")
sick(
    "houses-log-of-relu-output",
    HOUSES,
    data=changed(scaled(houses), y=lambda y: y / 1e5),
    net=dense(4, 32, "relu", 1, "relu"),
    loss=naive_msle,
)

sick = because("reported-loss-differs", "wrong-gradient")
sick("digits-reported-mistakes", DIGITS, loss=reported_error)
sick("digits-followed-other-labels", DIGITS, loss=reported_cross_entropy)
sick("iris-loss-through-data", IRIS, loss=detached)

sick = because("loss-ascended", "wrong-gradient", "reported-loss-differs")
sick("iris-gradient-upwards", IRIS, loss=ascended)

sick = because("wrong-gradient")
sick(
    "digits-relu-backward-negated",
    DIGITS_DEEP,
    net=dense(784, 64, NEGATED_RELU, 64, "relu", 10, init=None),
    optim=sgd(0.1),
)
sick("xor-output-sigmoid-slope-of-the-input", XOR_MSE, net=dense(2, 8, "tanh", 1, WRONG_SIGMOID))
sick(
    "circles-tanh-slope-of-the-input",
    CIRCLES,
    net=dense(2, 32, WRONG_TANH, 32, WRONG_TANH, 1, "sigmoid"),
)
sick(
    "digits-tanh-slope-of-the-input",
    DIGITS,
    net=dense(784, 128, WRONG_TANH, 64, WRONG_TANH, 10),
    optim=sgd(0.1),
)
sick("pima-sigmoid-slope-of-the-input", PIMA, net=dense(8, 16, WRONG_SIGMOID, 1, "sigmoid"))
sick(
    "circles-relu-mask-inverted",
    CIRCLES,
    net=dense(2, 32, INVERTED_RELU, 32, INVERTED_RELU, 1, "sigmoid"),
)


# First weights.

sick = because("symmetric-init")
sick("xor-zero-weights", XOR, net=dense(2, 8, "tanh", 1, "sigmoid", init=constant(0.0)))
sick("digits-zero-weights", DIGITS, net=dense(784, 128, "relu", 10, init=constant(0.0)))
sick("circles-all-a-tenth", CIRCLES, net=dense(2, 32, "tanh", 1, "sigmoid", init=constant(0.1)))
sick("spiral-zero-weights", SPIRAL, net=dense(2, 64, "relu", 64, "relu", 3, init=constant(0.0)))

sick = because("symmetric-init", "init-too-large", "init-not-centred", "saturation")
sick(
    "digits-all-ones",
    DIGITS_KERAS,
    net=dense(784, 128, "sigmoid", 10, "softmax", init=constant(1.0)),
)

sick = because("init-too-large", "exploding-gradient", "learning-rate-too-high")
sick(
    "digits-normal-weights-of-one",
    DIGITS_DEEP,
    net=dense(784, *(256, "relu") * 3, 10, init=normal(1.0)),
    optim=sgd(0.01),
)

sick = because("init-too-large", "saturation")
sick(
    "digits-normal-weights-of-one-tanh",
    DIGITS_DEEP,
    net=dense(784, 256, "tanh", 256, "tanh", 10, init=normal(1.0)),
    optim=sgd(0.01),
)
sick(
    "images-normal-weights-of-one",
    IMAGES,
    net=dense(784, 64, "relu", 784, "sigmoid", init=normal(1.0)),
)
sick(
    "tumours-normal-weights-of-ten-sigmoid",
    TUMOURS,
    net=dense(30, 64, "sigmoid", 64, "sigmoid", 1, "sigmoid", init=normal(10.0)),
    optim=sgd(0.1),
)

sick = because("init-not-centred", "init-too-large", "saturation")
sick(
    "reviews-uniform-weights-to-one",
    REVIEWS,
    net=dense(500, 64, "sigmoid", 64, "sigmoid", 1, "sigmoid", init=uniform(0, 1)),
    optim=adam(0.001),
)
sick(
    "digits-uniform-weights-to-one-tanh",
    DIGITS_KERAS,
    net=dense(784, 128, "tanh", 10, "softmax", init=uniform(0, 1)),
    optim=sgd(0.1),
)

sick = because("init-not-centred", "init-too-large", "exploding-gradient")
sick(
    "digits-uniform-weights-to-one",
    DIGITS_DEEP,
    net=dense(784, 128, "relu", 128, "relu", 10, init=uniform(0, 1)),
    optim=sgd(0.01),
)

sick = because("init-too-small", "vanishing-gradient")
sick(
    "digits-weights-of-a-thousandth",
    DIGITS_DEEP,
    net=dense(784, *(64, "relu") * 4, 10, init=normal(0.001)),
    optim=sgd(0.1),
)
sick(
    "digits-weights-of-a-hundredth-tanh",
    DIGITS_DEEP,
    net=dense(784, *(64, "tanh") * 5, 10, init=normal(0.01)),
    optim=sgd(0.05),
)
sick(
    "sine-weights-of-a-ten-thousandth",
    SINE_DEEP,
    net=dense(1, *(32, "tanh") * 3, 1, init=normal(1e-4)),
    optim=sgd(0.05),
)

sick = because("dead-units", "init-not-centred", at=(1, None))
sick("circles-relu-biases-far-below", CIRCLES, net=dense(2, 32, "relu", 1, "sigmoid", bias=-5.0))
sick(
    "houses-relu-negative-weights",
    HOUSES,
    data=changed(HOUSES.data, lambda x: x - x.min(0).values),
    net=dense(4, 32, "relu", 1, init=uniform(-1, 0)),
)

sick = because("saturation", "init-not-centred", "init-too-large", at=(1, None))
sick(
    "pima-sigmoid-biases-of-fifty", PIMA, net=biased(dense(8, 12, "sigmoid", 1, "sigmoid"), 1, 50.0)
)


# Depth.

sick = because("vanishing-gradient", "saturation")
sick("digits-eight-sigmoids", DIGITS_DEEP, net=dense(784, *(64, "sigmoid") * 8, 10), optim=sgd(0.1))

sick = because("vanishing-gradient")
sick("pima-six-sigmoids", PIMA, net=dense(8, *(12, "sigmoid") * 6, 1, "sigmoid"), optim=sgd(0.1))
sick(
    "spiral-five-sigmoids", SPIRAL, net=dense(2, *(32, "sigmoid") * 5, 3, init=None), optim=sgd(0.5)
)
sick(
    "circles-twelve-sigmoids-by-adam",
    CIRCLES,
    net=dense(2, *(16, "sigmoid") * 12, 1, "sigmoid"),
    optim=adam(0.001),
)

sick = because("exploding-gradient", "init-too-large")
sick(
    "digits-ten-relus-drawn-wide",
    DIGITS_DEEP,
    net=dense(784, *(64, "relu") * 10, 10, init=normal(0.5)),
    optim=sgd(0.05),
)
sick(
    "boston-eight-relus-drawn-wide",
    BOSTON,
    net=dense(13, *(32, "relu") * 8, 1, init=normal(0.8)),
    optim=adam(0.001),
)


# Rates and steps.

sick = because("learning-rate-too-high", "dead-units", "oscillation")
sick("digits-adam-of-one", DIGITS, optim=adam(1.0))
sick("digits-deep-adam-of-a-tenth", DIGITS_DEEP, optim=adam(0.1))
sick("conv-adam-of-a-half", DIGITS_CONV, optim=adam(0.5))

sick = because("learning-rate-too-high", "dead-units", "oscillation", "exploding-gradient")
sick("iris-sgd-of-ten", IRIS, optim=sgd(10.0))
sick("digits-sgd-of-ten", DIGITS, optim=sgd(10.0))

sick = because("learning-rate-too-high", "exploding-gradient", "dead-units", "oscillation")
sick("houses-sgd-of-one", HOUSES, optim=sgd(1.0))

sick = because("learning-rate-too-high", "dead-units", "saturation", "oscillation")
sick("pima-adam-of-one", PIMA, optim=adam(1.0))

sick = because("learning-rate-too-high", "saturation", "oscillation")
sick("xor-sgd-of-a-hundred", XOR, optim=sgd(100.0))

sick = because("learning-rate-too-high", "oscillation", "dead-units")
sick("boston-rmsprop-of-a-half", BOSTON, optim=lambda p: RMSprop(p, 0.5))
sick("digits-momentum-of-99", DIGITS_SGD, optim=sgd(0.5, 0.99))

sick = because("learning-rate-too-high", "oscillation", "late-divergence", "exploding-gradient")
sick("boston-momentum-of-99", BOSTON, optim=sgd(0.05, 0.99))

sick = because("learning-rate-too-high", "late-divergence", "oscillation", "exploding-gradient")
sick(
    "series-by-a-linear-model-after-a-while", WINDOWS, net=dense(12, 1), batch=400, optim=sgd(0.255)
)

sick = because("learning-rate-too-high", "input-not-normalized", "exploding-gradient")
sick("celsius-sgd-of-a-tenth-nan", CELSIUS, optim=sgd(0.1))

sick = because("learning-rate-too-high", "oscillation", "exploding-gradient", "dead-units")
sick("windows-batch-of-one-by-sgd", WINDOWS, optim=sgd(0.2), batch=1)

sick = because("oscillation", "labels-constant", "learning-rate-too-high")
sick("digits-in-file-order", DIGITS_SGD, data=by_class(digits))
sick("iris-in-file-order", IRIS, data=by_class(iris), optim=sgd(0.5), batch=10)

sick = because("learning-rate-too-low", "too-few-steps")
sick("digits-sgd-of-a-millionth", DIGITS_SGD, optim=sgd(1e-6))
sick("digits-adam-of-a-millionth", DIGITS, optim=adam(1e-6))
sick("houses-adam-of-a-hundred-thousandth", HOUSES, optim=adam(1e-5))
sick("iris-sgd-of-a-ten-thousandth", IRIS, optim=sgd(1e-4))
sick(
    "digits-adadelta-of-a-thousandth", DIGITS_KERAS, optim=lambda p: Adadelta(p, 0.001, 0.95, 1e-7)
)
sick("reviews-sgd-of-a-thousandth", REVIEWS, optim=sgd(0.001))
sick(
    "xor-keras-sgd-of-a-hundredth",
    XOR,
    net=dense(2, 2, "sigmoid", 1, "sigmoid"),
    optim=sgd(0.01),
    steps=500,
)

sick = because("too-few-steps")
sick("xor-one-epoch", XOR, steps=1)

sick = because("too-few-steps", "learning-rate-too-low")
sick("xor-five-epochs", XOR, optim=sgd(0.1), steps=5)
sick("celsius-ten-epochs", CELSIUS, optim=adam(0.1), steps=10)
sick("digits-one-epoch-of-large-batches", DIGITS_SGD, optim=sgd(0.01), batch=1000, steps=2)
sick("sine-ten-epochs-of-one-batch", SINE, optim=adam(0.001), batch=1000, steps=10)
sick("spiral-three-epochs-full-batch", SPIRAL, batch=300, steps=3)

sick = because("learning-rate-too-low", "too-few-steps", "class-imbalance")
sick("fizzbuzz-by-slow-sgd", FIZZBUZZ, optim=sgd(0.05))

sick = because("too-few-steps", "learning-rate-too-low", "class-imbalance")
sick("fizzbuzz-few-epochs", FIZZBUZZ, optim=adam(0.001), steps=40)


# Half precision.

sick = because("half-underflow")
sick(
    "digits-half-by-adam",
    DIGITS,
    data=changed(digits, Tensor.half),
    net=halved(DIGITS.net),
    loss=half_cross_entropy,
)
sick(
    "iris-half-by-adam",
    IRIS,
    data=changed(iris, Tensor.half),
    net=halved(IRIS.net),
    loss=half_cross_entropy,
)
sick(
    "houses-half-by-adam",
    HOUSES,
    data=changed(HOUSES.data, Tensor.half),
    net=halved(HOUSES.net),
    loss=half_mse,
)
sick(
    "windows-half-by-adam",
    WINDOWS,
    data=changed(WINDOWS.data, Tensor.half),
    net=halved(WINDOWS.net),
    loss=half_mse,
)
