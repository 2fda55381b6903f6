from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.engine.twins import (
    TOLERANCES,
    WAYS,
    batches,
    distance,
    plain_step,
    sgd,
)
from tests.problems import ACTIVATION_NAMES, LOSS_CASES
from torchmlp import MLP, Population
from torchmlp.nn.param_groups import scale_rates

RATES = [0.01, 0.003, 0.02, 0.0, 0.005]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]
KINDS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
OTHERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adam-amsgrad": {"optimizer": "adam", "settings": {"amsgrad": True, "betas": (0.8, 0.99)}},
    "adamw": {"optimizer": "adamw"},
    "adamw-decay": {"optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "settings": {"centered": True}},
    "adagrad": {"optimizer": "adagrad", "settings": {"lr_decay": 0.1}},
}
both_ways = pytest.mark.parametrize("way", WAYS, indirect=True)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether steps are taken in C++; without it in torch's batched products."""
    if not request.param:
        monkeypatch.setenv("TORCHMLP_NATIVE", "0")
    return bool(request.param)


class Apart:
    """A population, and each of its networks in plain torch modules, trained by autograd."""

    def __init__(self, *, loss: str = "cross_entropy", **settings: Any) -> None:
        own: dict[str, Any] = {"size": 5, "lr": RATES, "seeds": range(5), "dtype": torch.float64}
        own.update(settings)
        self.population = Population(6, [8, 5], 3, loss=loss, **own)
        self.loss = loss
        optimizer: dict[str, Any] = {
            name: settings[name]
            for name in ("momentum", "nesterov", "weight_decay")
            if name in settings
        }
        optimizer.update(settings.get("settings", {}))
        kind: Any = KINDS[settings.get("optimizer", "sgd")]
        self.twins = [self.population.network(i).to_sequential() for i in range(own["size"])]
        rates = self.population.lr.tolist()
        self.optimizers = [
            kind(twin.parameters(), **{"lr": rate, **optimizer})
            for twin, rate in zip(self.twins, rates, strict=True)
        ]
        self.start = [p.clone() for p in self.tensors(self.twins)]

    def begin_anew(self, i: int) -> None:
        """Load network i into its own place: its optimizer has forgotten all."""
        self.population.load(i, self.population.network(i))
        self.optimizers[i].state.clear()

    def step(self, x: Tensor, target: Tensor) -> None:
        mine = self.population.step(x, target)
        assert mine.shape == (len(self.twins),)
        own_x, own_target = x.ndim == 3, target.ndim > self.axes(target)
        theirs = torch.stack(
            [
                plain_step(
                    twin,
                    self.loss,
                    optimizer,
                    x[i] if own_x else x,
                    target[i] if own_target else target,
                )
                for i, (twin, optimizer) in enumerate(zip(self.twins, self.optimizers, strict=True))
            ]
        )
        tolerance = TOLERANCES[mine.dtype]
        torch.testing.assert_close(mine, theirs, rtol=2 * tolerance, atol=tolerance)

    @staticmethod
    def axes(target: Tensor) -> int:
        return 2 if target.is_floating_point() else 1

    @staticmethod
    def tensors(networks: list[nn.Sequential]) -> list[Tensor]:
        return [p.detach() for network in networks for p in network.parameters()]

    def assert_same(self) -> None:
        networks = [self.population.network(i).to_sequential() for i in range(len(self.twins))]
        mine, theirs = self.tensors(networks), self.tensors(self.twins)
        assert distance(mine, theirs) < TOLERANCES[mine[0].dtype]
        assert distance(self.start, theirs) > 1e-4


@both_ways
@every_dtype
@pytest.mark.parametrize("loss_case", LOSS_CASES)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_each_network_is_trained_by_itself(
    activation: str, loss_case: str, dtype: torch.dtype, way: bool
) -> None:
    """After four steps of one batch each, every network is what autograd makes of it alone, for
    every activation and loss."""
    torch.manual_seed(3)
    apart = Apart(loss=loss_case.split("-", maxsplit=1)[0], activation=activation, dtype=dtype)
    for x, target in batches(4, loss_case, dtype=dtype):
        apart.step(x, target)
    apart.assert_same()
    assert apart.population.is_native == way


@both_ways
@every_dtype
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_settings_of_sgd(settings: dict[str, Any], dtype: torch.dtype, way: bool) -> None:
    """Momentum, Nesterov's and weight decay are torch.optim.SGD's, after thirty steps."""
    del way
    torch.manual_seed(1)
    apart = Apart(activation="tanh", dtype=dtype, **settings)
    for x, target in batches(30, dtype=dtype):
        apart.step(x, target)
    apart.assert_same()


@both_ways
@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_other_optimizers(settings: dict[str, Any], way: bool) -> None:
    """Each network's steps are torch.optim's, at a rate of its own, after thirty steps; one that is
    loaded in mid-run begins anew, and the others go on."""
    torch.manual_seed(1)
    apart = Apart(activation="gelu", **settings)
    for step, (x, target) in enumerate(batches(30)):
        if step == 12:
            apart.begin_anew(1)
        apart.step(x, target)
    apart.assert_same()
    assert apart.population.is_native == way


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "adam has no setting momentum here; expected"),
        ({"settings": {"betas": (0.9, 0.9)}}, "sgd has no setting betas here; expected momentum"),
        ({"optimizer": "adma"}, "unknown optimizer 'adma'"),
    ],
)
def test_settings_of_another_optimizer_are_refused(settings: dict[str, Any], message: str) -> None:
    """With those that it has."""
    with pytest.raises(ValueError, match=message):
        Population(6, [8], 3, size=2, lr=0.1, **settings)


@both_ways
@pytest.mark.parametrize("own_x", [False, True])
@pytest.mark.parametrize("own_target", [False, True])
@pytest.mark.parametrize("loss_case", ["cross_entropy-indices", "mse"])
def test_batches_shared_and_own(own_x: bool, own_target: bool, loss_case: str, way: bool) -> None:
    """Input and target are everybody's, or each network's own, independently of each other."""
    del way
    torch.manual_seed(2)
    apart = Apart(loss=loss_case.split("-", maxsplit=1)[0])
    for (x, target), (xs, targets) in zip(
        batches(20, loss_case), batches(20, loss_case, rows=(5, 7)), strict=True
    ):
        apart.step(xs if own_x else x, targets if own_target else target)
    apart.assert_same()


@both_ways
def test_batch_sizes_may_change(way: bool) -> None:
    """Every batch size has its buffers; the velocities go on through all of them."""
    del way
    apart = Apart(momentum=0.9)
    for rows in (7, 3, 7, 1, *range(2, 14), 7):
        apart.step(*next(batches(1, rows=(rows,))))
    apart.assert_same()


@both_ways
def test_rates_may_be_set(way: bool) -> None:
    """A rate set between two steps is the next step's; one number is everybody's."""
    del way
    apart = Apart(momentum=0.9)
    for rates in (0.02, [0.1, 0.0, 0.01, 0.02, 0.05], 0.001):
        apart.population.lr = rates
        for optimizer, rate in zip(apart.optimizers, apart.population.lr.tolist(), strict=True):
            optimizer.param_groups[0]["lr"] = rate
        for x, target in batches(5):
            apart.step(x, target)
    apart.assert_same()


def states(population: Population, indices: list[int]) -> list[Tensor]:
    return [p.detach() for i in indices for p in population.network(i).parameters()]


@both_ways
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_sick_network_is_frozen_and_disturbs_nobody(momentum: float, way: bool) -> None:
    """Networks whose loss is not finite stay as they were before that loss, which they go on to
    give; the others are to the last bit what they are without them."""
    del way
    rates = [0.01, 1e200, 0.02, 1e250, 0.005]
    settings: dict[str, Any] = {"momentum": momentum, "dtype": torch.float64, "loss": "mse"}
    sick = Population(6, [8, 5], 3, size=5, lr=rates, seeds=range(5), **settings)
    sound = Population(6, [8, 5], 3, size=3, lr=rates[::2], seeds=[0, 2, 4], **settings)
    before: list[list[Tensor]] = []
    for x, target in batches(20, "mse"):
        before.append(states(sick, [1, 3]))
        frozen = sick.frozen.tolist()
        losses = sick.step(x, target)
        assert torch.equal(losses[::2], sound.step(x, target))
        if frozen[1] and frozen[3]:
            assert not losses[1].isfinite()
            for a, b in zip(*before[-2:], strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert sick.frozen.tolist() == [False, True, False, True, False]
    for mine, theirs in zip(states(sick, [0, 2, 4]), states(sound, [0, 1, 2]), strict=True):
        assert torch.equal(mine, theirs)


@both_ways
def test_an_own_batch_that_is_nan_freezes_before_the_step(way: bool) -> None:
    """The step that a nan would make is not taken: the network is left as it was, and trains again
    once it is loaded anew."""
    del way
    population = Population(6, [8], 3, size=3, lr=0.1, dtype=torch.float64)
    (x, target) = next(batches(1, rows=(3, 7)))
    x[1, 2, 3] = torch.nan
    start = population.network(1)
    for rows in (7, 7, 3):  # whatever comes next, it gives the loss that it was frozen at
        given = x[:, :rows] if rows == 7 else x[:, :rows].nan_to_num(0.0)
        losses = population.step(given, target[:, :rows])
        assert losses.isnan().tolist() == [False, True, False]
    for a, b in zip(start.parameters(), population.network(1).parameters(), strict=True):
        assert torch.equal(a, b)
    population.load(1, start)
    assert population.frozen.tolist() == [False, False, False]
    assert population.step(x.nan_to_num(0.0), target).isfinite().all()


@both_ways
def test_where_a_network_lies_changes_no_bit(way: bool) -> None:
    """A network trained among five, among two and alone on one thread is the same to the last bit,
    also where its parameters' size is odd."""
    del way

    def trained(indices: list[int]) -> list[Tensor]:
        rates = [RATES[i] * 10 for i in indices]
        population = Population(6, [7, 5], 3, size=len(indices), lr=rates, seeds=indices)
        generator = torch.Generator().manual_seed(0)
        for _ in range(30):
            x = torch.randn(9, 6, generator=generator)
            population.step(x, x.argmax(1) % 3)
        return states(population, [len(indices) - 1])

    alone = trained([4])
    for others in ([0, 1, 2, 3, 4], [2, 4]):
        for a, b in zip(alone, trained(others), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_networks_or_samples(threads: int) -> None:
    """Whether threads take networks of their own or the samples of one, weights are autograd's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (1, 2, 5):
            torch.manual_seed(0)
            rates = [0.01] * size
            population = Population(784, 300, 10, size=size, lr=rates, seeds=range(size))
            twins = [population.network(i).to_sequential() for i in range(size)]
            optimizers = [torch.optim.SGD(twin.parameters(), lr=0.01) for twin in twins]
            for _ in range(5):
                x, target = torch.rand(64, 784), torch.randint(10, (64,))
                population.step(x, target)
                for twin, optimizer in zip(twins, optimizers, strict=True):
                    plain_step(twin, "cross_entropy", optimizer, x, target)
            mine = states(population, list(range(size)))
            assert distance(mine, Apart.tensors(twins)) < TOLERANCES[torch.float32]
    finally:
        torch.set_num_threads(before)


def test_seeds_are_those_of_an_mlp() -> None:
    """A seeded network starts as an MLP after torch.manual_seed does, and the global generator is
    left alone; without seeds they are drawn from it, one after the other."""
    torch.manual_seed(5)
    state = torch.get_rng_state()
    population = Population(4, [3], 2, size=2, lr=0.1, seeds=[7, 8], init="xavier")
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(8)
    for a, b in zip(
        MLP(4, [3], 2, init="xavier").parameters(), population.network(1).parameters(), strict=True
    ):
        assert torch.equal(a, b)
    torch.manual_seed(5)
    loop = [MLP(4, [3], 2) for _ in range(3)]
    torch.manual_seed(5)
    drawn = Population(4, [3], 2, size=3, lr=0.1)
    for i, network in enumerate(loop):
        for a, b in zip(network.parameters(), drawn.network(i).parameters(), strict=True):
            assert torch.equal(a, b)


@both_ways
def test_pixels_are_scaled(way: bool) -> None:
    """uint8 inputs are pixels 0..255 of images, scaled to 0..1."""
    del way
    pixels = torch.randint(256, (7, 6), dtype=torch.uint8)
    target = torch.randint(3, (7,))
    one, other = (Population(6, [8], 3, size=2, lr=0.5, seeds=[0, 1]) for _ in range(2))
    for _ in range(3):
        mine = one.step(pixels, target)
        assert torch.equal(mine, other.step(pixels / torch.tensor(255.0), target))
    assert one.outputs(pixels).shape == (2, 7, 3)


def test_outputs_are_the_networks() -> None:
    """outputs gives what each network gives, of shared and of own inputs."""
    population = Population(6, [8, 5], 3, size=4, lr=0.1, activation="gelu", dtype=torch.float64)
    x = torch.randn(4, 9, 6, dtype=torch.float64)
    for given in (x, x[0]):
        outputs = population.outputs(given)
        for i in range(4):
            expected = population.network(i)(given[i] if given.ndim == 3 else given)
            torch.testing.assert_close(outputs[i], expected.detach())


def test_weights_are_live() -> None:
    """`weights` and `biases` are the networks' own memory; `network` is a copy."""
    population = Population(6, [8], 3, size=4, lr=0.1)
    copy = population.network(2)
    population.weights[0][2] = 1.0
    population.biases[1][2] = 2.0
    assert population.weights[0].shape == (4, 8, 6)
    assert population.biases[1].shape == (4, 3)
    assert not (copy.weights[0] == 1).any()
    assert (population.network(2).weights[0] == 1).all()
    assert (population.network(2).biases[1] == 2).all()  # type: ignore[union-attr]
    assert not (population.network(1).weights[0] == 1).any()


def test_load_takes_a_trained_mlp() -> None:
    """An MLP that is loaded trains on from its own weights, with a velocity of 0."""
    population = Population(6, [8], 3, size=2, lr=0.1, momentum=0.9, dtype=torch.float64)
    data = list(batches(6))
    for x, target in data[:3]:
        population.step(x, target)
    mlp = MLP(6, [8], 3, dtype=torch.float64)
    population.load(1, mlp)
    twin = mlp.to_sequential()
    optimizer = sgd(lr=0.1, momentum=0.9)(list(twin.parameters()))
    for x, target in data[3:]:
        population.step(x, target)
        plain_step(twin, "cross_entropy", optimizer, x, target)
    assert distance(states(population, [1]), Apart.tensors([twin])) < 1e-12


WRONG_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"size": 0}, "a size of at least 1, got 0"),
    "seeds": ({"seeds": [1]}, "one seed for each of the 3 networks, got 1"),
    "rates": ({"lr": [0.1, 0.2]}, r"each of the 3 networks, got shape \(2,\)"),
    "negative": ({"lr": [0.1, -0.2, 0.3]}, "rates of at least 0, got -0.2"),
    "nan": ({"lr": float("nan")}, "rates of at least 0, got nan"),
    "momentum": ({"momentum": -0.5}, "momentum of at least 0, got -0.5"),
    "nesterov": ({"nesterov": True}, "nesterov looks ahead by momentum"),
    "loss": ({"loss": "hinge"}, "hinge"),
    "activation": ({"activation": "rely"}, "relu"),
}


@pytest.mark.parametrize(
    ("settings", "message"), list(WRONG_ARGUMENTS.values()), ids=list(WRONG_ARGUMENTS)
)
def test_wrong_arguments_are_named(settings: dict[str, Any], message: str) -> None:
    """A mistake in the arguments is one ValueError that names the value."""
    with pytest.raises(ValueError, match=message):
        Population(6, [8], 3, **{"size": 3, "lr": 0.1, **settings})


@both_ways
@pytest.mark.parametrize(
    ("x", "target", "error", "message"),
    [
        (torch.zeros(7, 5), torch.zeros(7).long(), ValueError, "in_features=6"),
        (torch.zeros(2, 7, 6), torch.zeros(7).long(), ValueError, r"\(3, batch, 6\), got \(2, 7"),
        (torch.zeros(6), torch.zeros(7).long(), ValueError, r"\(batch, 6\)"),
        (torch.zeros(7, 6), torch.zeros(8).long(), ValueError, r"\(7,\).*got \(8,\)"),
        (torch.zeros(7, 6), torch.zeros(2, 7).long(), ValueError, r"\(7,\).*got \(2, 7\)"),
        (torch.zeros(7, 6), torch.full((7,), 3), ValueError, "label 3 is outside the 3 classes"),
        (torch.zeros(7, 6).double(), torch.zeros(7).long(), TypeError, "float64"),
    ],
)
def test_wrong_batches_change_nothing(
    x: Tensor, target: Tensor, error: type[Exception], message: str, way: bool
) -> None:
    """A batch that does not fit is named, and no network has been changed."""
    del way
    population = Population(6, [8], 3, size=3, lr=0.1)
    start = states(population, [0, 1, 2])
    with pytest.raises(error, match=message):
        population.step(x, target)
    for a, b in zip(start, states(population, [0, 1, 2]), strict=True):
        assert torch.equal(a, b)


def test_load_refuses_another_shape() -> None:
    """Another width, activation, or no biases: the two networks are named."""
    population = Population(6, [8], 3, size=2, lr=0.1)
    for other in (MLP(6, [7], 3), MLP(6, [8], 3, "tanh"), MLP(6, [8], 3, bias=False)):
        with pytest.raises(ValueError, match=r"Population.load: expected MLP\("):
            population.load(0, other)


@both_ways
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_mup_scales_the_rates(name: str, way: bool) -> None:
    """Under mup every network is what the optimizer with `scale_rates` makes of the MLP, and starts
    as it."""
    del way
    settings: dict[str, Any] = {"parametrization": "mup", "base_width": 4, "dtype": torch.float64}
    population = Population(
        6, [8, 16], 3, size=2, lr=[0.05, 0.1], seeds=[3, 4], optimizer=name, **settings
    )
    for i, rate in enumerate((0.05, 0.1)):
        torch.manual_seed(3 + i)
        mlp = MLP(6, [8, 16], 3, **settings)
        kind: Any = KINDS[name]
        optimizer = scale_rates(kind(mlp.parameters(), lr=rate), mlp)
        assert len(optimizer.param_groups) > 1
        torch.manual_seed(0)
        for x, target in batches(10):
            plain_step(mlp, "cross_entropy", optimizer, x, target)
            if i == 1:
                population.step(x, target)
        if i == 1:
            assert distance(states(population, [1]), [p.detach() for p in mlp.parameters()]) < 1e-12


def test_it_says_how_the_last_step_was_taken() -> None:
    """Of the last one, whatever came before."""
    population = Population(6, [8], 3, size=2, lr=0.1)
    assert (population.how, population.is_native) == ("no step taken yet", False)
    x, labels = torch.randn(7, 6), torch.randint(3, (7,))
    population.step(x, labels)
    first = population.how
    population.step(x, torch.full((7, 3), 1 / 3))
    assert population.how == first
