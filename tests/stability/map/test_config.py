import pickle
from typing import Any

import pytest
import torch
from torch import nn

from tests.stability.small_maps import cell, digits, map_config
from torchmlp import Classifier
from torchmlp.diagnosis.run.run import Batch
from torchmlp.stability.map.config import MapConfig

ORIGIN = "torchmlp.examples.origin.Origin"


def first_batch() -> list[Batch]:
    return digits().epoch(cell(), 1)


def test_a_cell_gives_the_network_its_width_depth_init_and_seed() -> None:
    """The module is the class itself made with the cell's values, after its seed."""
    made = map_config(activation="tanh").module(cell(width=12, depth=3, init="lecun", seed=5))
    torch.manual_seed(5)
    own = Classifier(hidden=[12, 12, 12], activation="tanh", init="lecun")
    assert made.mlp.hidden == [12, 12, 12]
    for a, b in zip(made.parameters(), own.parameters(), strict=True):
        assert torch.equal(a, b)


def test_torchs_generator_is_left_as_it_was() -> None:
    """Making a cell's module draws nothing that somebody else would have drawn."""
    state = torch.get_rng_state()
    map_config().module(cell())
    assert torch.equal(state, torch.get_rng_state())


def test_a_map_trains_without_dropout() -> None:
    """Dropout of the configuration is set to 0."""
    made = map_config(dropout=0.5, input_dropout=0.2).module(cell())
    assert (made.mlp.dropout, made.mlp.input_dropout) == (0.0, 0.0)


def test_float64_parameters_are_those_drawn_in_float32() -> None:
    """As Lightning's 64-true has them: drawn first, cast then."""
    wide, narrow = (map_config(dtype=name).module(cell()) for name in ("float64", "float32"))
    for a, b in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert a.dtype == torch.float64
        assert torch.equal(a, b.double())


def test_a_configuration_can_be_sent_to_a_process() -> None:
    """It is plain data: pickled and unpickled it is the same."""
    sent = map_config(activation="tanh")
    assert pickle.loads(pickle.dumps(sent)) == sent


def test_the_cells_rate_and_the_configured_optimizer_train_it() -> None:
    """lr is the cell's; the other settings are the configuration's."""
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 9.0, "betas": (0.5, 0.6)}}
    own = MapConfig({"class_path": "torchmlp.Classifier"}, adam)
    (group,) = own.run(cell(lr=0.25), first_batch()).optimizer.param_groups
    assert (group["lr"], group["betas"]) == (0.25, (0.5, 0.6))


def test_mup_multiplies_the_cells_rate_by_each_layers_factor() -> None:
    """Under mup the groups have lr · factor, as `scale_rates` makes them."""
    own = map_config(parametrization="mup", base_width=64)
    groups = own.run(cell(width=512, lr=0.5), first_batch()).optimizer.param_groups
    assert [(len(g["params"]), g["lr"]) for g in groups] == [(1, 0.5), (2, 4.0), (1, 0.0625)]


def test_a_model_with_its_own_optimizer_keeps_it_at_the_cells_rate() -> None:
    """Origin descends by its own SGD whatever is configured; width is its int `hidden`."""
    run = map_config(ORIGIN, "Adam", dtype="float64").run(cell(width=30, lr=0.7), first_batch())
    assert type(run.optimizer) is torch.optim.SGD
    assert [group["lr"] for group in run.optimizer.param_groups] == [0.7]
    assert next(tuple(p.shape) for p in run.model.parameters()) == (30, 784)


def test_without_an_optimizer_the_model_brings_it_and_no_schedule() -> None:
    """Of configure_optimizers the optimizer is taken, at the cell's rate, without a schedule."""
    run = MapConfig({"class_path": "tests.stability.models.Noisy"}).run(cell(lr=0.3), first_batch())
    assert [group["lr"] for group in run.optimizer.param_groups] == [0.3]
    assert not run.has_schedule


def test_the_subject_computes_the_models_own_loss() -> None:
    """The loss of a subject is that of the module's training step: for mse against one-hot rows."""
    ((x, labels),) = first_batch()
    run = map_config(loss="mse").run(cell(), [(x, labels)])
    logits = run.model(x)
    one_hot = nn.functional.one_hot(labels, 10).float()
    expected = 0.5 * (logits - one_hot).square().sum(1).mean()
    torch.testing.assert_close(run.forward((x, labels))[1], expected)


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("NoHidden", {}, r"a parameter hidden.*NoHidden has units"),
        ("Noisy", {"init": "he"}, r"init=he, and Noisy has no parameter init"),
        (ORIGIN, {"init": "he"}, r"init=he, and Origin has no parameter init"),
        (ORIGIN, {"depth": 2}, r"2 hidden layers, and Origin has one.*leave the depths out"),
        ("torchmlp.NoSuch", {}, r"no class torchmlp\.NoSuch"),
        ("no.such.Model", {}, r"no class no\.such\.Model"),
    ],
)
def test_a_model_that_has_no_place_for_a_cell(model: str, settings: Any, words: str) -> None:
    """It is said what the class lacks, and what to do."""
    with pytest.raises(ValueError, match=words):
        map_config(model).module(cell(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"steps": 0}, "at least 1 step, got 0"), ({"dtype": "float16"}, "float32 or float64, got")],
)
def test_a_recipe_out_of_range(settings: Any, words: str) -> None:
    """A number of steps below 1 and another dtype are refused at once."""
    with pytest.raises(ValueError, match=words):
        MapConfig({"class_path": "torchmlp.Classifier"}, **settings)
