"""What the benchmark's runs learn from, and how well they have learnt it.

Each function returns one that draws the samples from torch's generator, seeded or not by the
caller; the digits are those that ship with the package.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from run import Batch
from torch import Tensor, nn
from torch.nn import functional

from torchmlp.data.images.embedded import read_embedded

Data = Callable[[], Batch]
Change = Callable[[Tensor], Tensor]
PLANE = 2  # features


@cache
def _digits() -> Batch:
    images = read_embedded()
    return images.train_images.flatten(1).float() / 255, images.train_labels


def digits(count: int = 1500) -> Data:
    """Pixels from 0 to 1, ten classes of about equal size."""

    def draw() -> Batch:
        x, y = _digits()
        chosen = torch.randperm(len(x))[:count]
        return x[chosen], y[chosen]

    return draw


def blobs(
    count: int, classes: int, features: int = 2, distance: float = 4.0, weights: str = ""
) -> Data:
    """Normal clouds, their centres about `distance` apart.

    `weights` holds one digit per class, in proportion to its share; equal shares by default.
    """

    def draw() -> Batch:
        centres = torch.randn(classes, features)
        centres = distance * functional.normalize(centres - centres.mean(0), dim=1)
        if features == PLANE:
            angle = torch.arange(classes) * (2 * math.pi / classes) + torch.rand(())
            radius = distance / (2 * math.sin(math.pi / classes))
            centres = radius * torch.stack([angle.cos(), angle.sin()], 1)
        share = torch.tensor([float(w) for w in weights or "1" * classes])
        y = torch.multinomial(share, count, replacement=True)
        return centres[y] + torch.randn(count, features), y

    return draw


def moons(count: int, noise: float = 0.15) -> Data:
    """Two half circles, one within the other; the target is a column of zeros and ones."""

    def draw() -> Batch:
        y = torch.arange(count) % 2
        angle = math.pi * torch.rand(count)
        up = 1 - 2 * y
        x = torch.stack([up * angle.cos() + y - 0.5, up * angle.sin() + 0.5 * y - 0.25], 1)
        return x + noise * torch.randn(count, 2), y.float().unsqueeze(1)

    return draw


def circles(count: int, noise: float = 0.1) -> Data:
    """A disc's rim and a smaller one's; classes 0 and 1."""

    def draw() -> Batch:
        y = torch.randint(2, (count,))
        angle = 2 * math.pi * torch.rand(count)
        radius = 1.5 - 0.9 * y + noise * torch.randn(count)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y

    return draw


def spirals(count: int, arms: int, turns: float = 0.6, noise: float = 0.05) -> Data:
    """Arms that wind about the origin; one class each."""

    def draw() -> Batch:
        y = torch.randint(arms, (count,))
        radius = 0.2 + 1.8 * torch.rand(count)
        angle = math.pi * turns * radius + 2 * math.pi * y / arms
        x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return x + noise * torch.randn(count, 2), y

    return draw


def xor(count: int, noise: float = 0.3) -> Data:
    """Four clouds, opposite ones of one class; a column of zeros and ones."""

    def draw() -> Batch:
        corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        chosen = torch.arange(count) % 4
        y = (chosen % 3 > 0).float().unsqueeze(1)
        return corners[chosen] + noise * torch.randn(count, 2), y

    return draw


def parity(bits: int) -> Data:
    """Every word of so many bits, written as -1 and 1; is the number of ones odd?"""

    def draw() -> Batch:
        words = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * bits)
        order = torch.randperm(len(words))
        return 2 * words[order] - 1, (words[order].sum(1) % 2).unsqueeze(1)

    return draw


def answers(count: int, questions: int = 12, wrong: float = 0.05) -> Data:
    """Yes and no to questions, of which five decide a rule; a share of the outcomes is wrong."""

    def draw() -> Batch:
        x = torch.randint(2, (count, questions)).float()
        a, b, c, d, e = x[:, :5].bool().unbind(1)
        y = (a & b) | (c & ~d) | (~a & d & e)
        return x, (y ^ (torch.rand(count) < wrong)).float().unsqueeze(1)

    return draw


def words(count: int, vocabulary: int = 400) -> Data:
    """Which words occur in a text, 3 % of them in each; two kinds of text, as a column."""

    def draw() -> Batch:
        y = torch.randint(2, (count, 1)).float()
        favour = torch.randn(vocabulary)
        odds = -3.8 + (2 * y - 1) * favour
        return torch.bernoulli(odds.sigmoid()), y

    return draw


def friedman(count: int, features: int = 10, noise: float = 0.5) -> Data:
    """Friedman's first regression, inputs and target standardised; a column of numbers."""

    def draw() -> Batch:
        u = torch.rand(count, features)
        y = 10 * (math.pi * u[:, 0] * u[:, 1]).sin() + 20 * (u[:, 2] - 0.5) ** 2
        y = y + 10 * u[:, 3] + 5 * u[:, 4] + noise * torch.randn(count)
        return (u - 0.5) * math.sqrt(12), ((y - 14.4) / 4.9).unsqueeze(1)

    return draw


def plane(count: int, features: int, noise: float = 0.3) -> Data:
    """A linear function of normal inputs, with noise; a column of numbers."""

    def draw() -> Batch:
        x = torch.randn(count, features)
        y = x @ functional.normalize(torch.randn(features, 1), dim=0)
        return x, y + noise * torch.randn(count, 1)

    return draw


def sine(count: int, periods: float = 1.0, noise: float = 0.1) -> Data:
    """A sine over an interval of standard deviation one; a column of numbers."""

    def draw() -> Batch:
        x = math.sqrt(3) * (2 * torch.rand(count, 1) - 1)
        return x, (math.pi / math.sqrt(3) * periods * x).sin() + noise * torch.randn(count, 1)

    return draw


def changed(data: Data, x: Change | None = None, y: Change | None = None) -> Data:
    """The same samples, their inputs or targets changed."""

    def draw() -> Batch:
        inputs, targets = data()
        return (x(inputs) if x else inputs), (y(targets) if y else targets)

    return draw


def noisy(share: float, classes: int) -> Change:
    """Labels, of which a share is drawn anew."""

    def change(y: Tensor) -> Tensor:
        return torch.where(torch.rand(len(y)) < share, torch.randint(classes, y.shape), y)

    return change


def rare(common: int, keep: float) -> Callable[[Data], Data]:
    """Of every class but the common one, few samples are kept."""

    def make(data: Data) -> Data:
        def draw() -> Batch:
            x, y = data()
            kept = (y.flatten() == common) | (torch.rand(len(y)) < keep)
            return x[kept], y[kept]

        return draw

    return make


def poisoned(value: float, row: int, column: int) -> Change:
    """Inputs with one entry replaced."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[row, column] = value
        return x

    return change


def scaled(factor: float, column: int, shift: float = 0.0) -> Change:
    """Inputs of which one feature is measured in another unit."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, column] = factor * x[:, column] + shift
        return x

    return change


def standardised(x: Tensor) -> Tensor:
    """Zero mean and unit variance over all features together."""
    return (x - x.mean()) / x.std()


def shuffled(y: Tensor) -> Tensor:
    """The same targets for other samples."""
    return y[torch.randperm(len(y))]


def _answers(model: nn.Module, batches: list[Batch]) -> Batch:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(x) for x, _ in batches]).double()
    model.train(was_training)
    return outputs, torch.cat([y for _, y in batches])


def accuracy(model: nn.Module, batches: list[Batch]) -> float:
    """Share of samples whose class has the largest output."""
    outputs, y = _answers(model, batches)
    return float((outputs.argmax(1) == y).double().mean())


def balanced(model: nn.Module, batches: list[Batch]) -> float:
    """Accuracy within each class, averaged over classes."""
    outputs, y = _answers(model, batches)
    right = (outputs.argmax(1) == y).double()
    return float(torch.stack([right[y == k].mean() for k in range(int(y.max()) + 1)]).nanmean())


def above(threshold: float) -> Callable[[nn.Module, list[Batch]], float]:
    """Balanced accuracy of one output that says yes above a threshold."""

    def score(model: nn.Module, batches: list[Batch]) -> float:
        outputs, y = _answers(model, batches)
        yes, is_one = outputs.flatten() > threshold, y.flatten().bool()
        rates = [yes[is_one].double().mean(), (~yes)[~is_one].double().mean()]
        return float(torch.stack(rates).nanmean())

    return score


def r2(model: nn.Module, batches: list[Batch]) -> float:
    """Share of the targets' variance that the outputs explain."""
    outputs, y = _answers(model, batches)
    y = y.double()
    return 1 - float((outputs.reshape(y.shape) - y).pow(2).sum() / (y - y.mean(0)).pow(2).sum())
