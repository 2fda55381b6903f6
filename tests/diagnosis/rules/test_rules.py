"""The rules read a record, change nothing in it, and keep quiet about healthy ones."""

import math
from dataclasses import replace
from functools import cache

import pytest

from tests.diagnosis.runs import Case, cases
from torchmlp.diagnosis.record.record import (
    Design,
    Inputs,
    Layer,
    LayerSample,
    NonFinite,
    Record,
    Sample,
    Targets,
    Trial,
)
from torchmlp.diagnosis.rules.causes import CAUSES, Finding, in_order
from torchmlp.diagnosis.rules.evaluate import RULES, evaluate_rules

CASES = {str(case): case for case in cases() if not case.variant}


@cache
def record_of(name: str) -> Record:
    case: Case = CASES[name]
    return replace(case.sick, steps=20).report(remedies=False).record


@pytest.mark.parametrize("name", CASES)
def test_rules_are_pure(name: str) -> None:
    """Asked twice they say the same, and the record is the same afterwards."""
    record = record_of(name)
    before = record.to_json()
    first, second = evaluate_rules(record), evaluate_rules(record)
    assert repr(first) == repr(second)
    assert record.to_json() == before
    assert repr(evaluate_rules(Record.from_json(before))) == repr(first)


@pytest.mark.parametrize("name", CASES)
def test_findings_are_whole(name: str) -> None:
    """A known cause, once; a layer that there is; a step of the run; numbers; full sentences."""
    record = record_of(name)
    found = evaluate_rules(record)
    assert len({finding.cause for finding in found}) == len(found)
    for finding in found:
        assert finding.cause in CAUSES
        assert finding.layer is None or 1 <= finding.layer <= len(record.layers)
        assert 0 <= finding.step <= len(record.losses)
        assert all(isinstance(number, float) for number in finding.evidence.values())
        for text in (finding.explanation, finding.remedy):
            assert text[0].isupper() or text[0].isdigit()
            assert text.endswith((".", ")", "?"))
            assert "nan" not in text.split() or record.nonfinite or "non-finite" in finding.cause


def test_causes_are_sorted_by_what_can_explain_what() -> None:
    """As they stand in the list."""
    found = [Finding(cause, None, "loss", 0, {}, "", "") for cause in reversed(CAUSES)]
    assert tuple(finding.cause for finding in in_order(found)) == CAUSES


def test_no_rule_stumbles_over_an_empty_record() -> None:
    """Of a run that could not begin nothing is known, and nothing is said."""
    for rule in RULES:
        assert list(rule(Record(Design()))) == []


def healthy() -> Record:
    """What a good run of two layers leaves behind."""
    layers = [
        Layer(k, str(k), "linear", 2, 2, phi, False, 0.0, 0.7, 1.0, 1.0, 1.0)
        for k, phi in ((1, "relu"), (2, "identity"))
    ]
    at = LayerSample(0.0, 1.0, 2.0, 0.7, 0.5, 0.1, 0.0, 1.0, None, 0.7, 0.1)
    return Record(
        Design(
            loss="cross_entropy",
            output_units=2,
            output_shape=[16, 2],
            target_shape=[16],
            lr=0.1,
            optimizer="SGD",
            steps=100,
        ),
        layers,
        Inputs(100, 2, 0.0, 1.0, 1.0, -3.0, 3.0, 0.0, 1.0, 0.0),
        Targets(
            "classes", 2, 0.0, 1.0, 0.5, 0.5, 0.0, math.log(2), 0.5, 0.5, 1.0, 1.0, held_out=60
        ),
        [Sample(0, [at, at])],
        [0.7 * 0.97**k for k in range(100)],
        [0.95] * 20,
        0.5,
        1.0,
        trials=[Trial("untouched", [], 100, [0.7, 0.1], 1.0)],
        network="2-2-2",
    )


def causes_of(record: Record) -> set[str]:
    return {finding.cause for finding in evaluate_rules(record)}


def test_a_healthy_record_has_no_suspects() -> None:
    """Which the next tests change in one place each."""
    assert causes_of(healthy()) == set()


def test_lost_inputs_are_named() -> None:
    """A share above 0."""
    record = healthy()
    assert record.inputs
    record.inputs.nonfinite = 0.01
    assert "input-non-finite" in causes_of(record)


@pytest.mark.parametrize(("low", "high", "named"), [(0, 1, False), (0, 2, True), (-1, 1, True)])
def test_labels_need_an_output_each(low: int, high: int, named: bool) -> None:
    """From 0 to the number of outputs."""
    record = healthy()
    assert record.targets
    record.targets.low, record.targets.high = float(low), float(high)
    assert ("target-out-of-range" in causes_of(record)) == named


@pytest.mark.parametrize("size", [1000.0, 1e-4])
def test_inputs_far_from_one_are_named(size: float) -> None:
    """Too large and too small, unless a normalisation follows."""
    record = healthy()
    assert record.inputs
    record.inputs.rms = record.inputs.std = size
    assert causes_of(record) == {"input-not-normalized"}
    record.layers[0].has_norm = True
    assert causes_of(record) == set()


def test_rare_classes_are_named() -> None:
    """By the entropy of the labels."""
    record = healthy()
    assert record.targets
    record.targets.entropy, record.targets.majority_share = 0.05, 0.99
    assert causes_of(record) == {"class-imbalance"}


def test_probes_at_chance_are_named_only_of_enough_samples() -> None:
    """A handful at chance is chance."""
    record = healthy()
    assert record.targets
    record.targets.nearest_mean = record.targets.nearest_neighbour = 0.5
    assert causes_of(record) == {"labels-unrelated"}
    record.targets.held_out = 4
    assert causes_of(record) == set()


def test_equal_units_are_no_mistake_where_their_gradients_differ() -> None:
    """A layer may start at 0 if it does not stay a single unit."""
    record = healthy()
    record.layers[0].unit_spread = record.layers[0].unit_gradient_spread = 0.0
    assert causes_of(record) == {"symmetric-init"}
    record.layers[0].unit_gradient_spread = 1.0
    assert causes_of(record) == set()


def test_a_gradient_counts_as_wrong_only_where_a_hand_was_in_it() -> None:
    """Torch's own are right, and what differs is rounding."""
    record = healthy()
    record.layers[0].gradient_error = 0.5
    assert causes_of(record) == set()
    record.design.custom_backward = ["Tanh"]
    assert causes_of(record) == {"wrong-gradient"}


def test_the_highest_wrong_layer_is_named() -> None:
    """What is below inherits its deltas."""
    record = healthy()
    record.design.custom_backward = ["Tanh"]
    for layer in record.layers:
        layer.gradient_error = 1.5
    assert [finding.layer for finding in evaluate_rules(record)] == [2]


def test_a_falling_loss_is_no_divergence() -> None:
    """One that falls and rises again far above is."""
    record = healthy()
    record.losses = [*record.losses[:60], *(0.2 * 1.06**k for k in range(40))]
    assert "late-divergence" in causes_of(record)


def test_noise_is_no_oscillation() -> None:
    """A loss that swings by much of its size is."""
    record = healthy()
    record.losses = [1.0 + 0.02 * (-1) ** k for k in range(200)]
    assert causes_of(record) == set()
    record.losses = [1.0 + 0.6 * math.sin(k / 5) for k in range(200)]
    assert "oscillation" in causes_of(record)


def test_a_rate_is_too_high_where_its_own_batch_gets_worse() -> None:
    """Or where the run breaks after its start."""
    record = healthy()
    record.same_batch_loss_ratio = [1.5] * 20
    assert causes_of(record) == {"learning-rate-too-high"}
    record = healthy()
    record.nonfinite = NonFinite(7, 2, "z", "linear", "inf")
    assert "learning-rate-too-high" in causes_of(record)


@pytest.mark.parametrize("cause", ["learning-rate-too-low", "too-few-steps"])
def test_what_a_trial_shows_is_a_suspect(cause: str) -> None:
    """With the trial's score as evidence."""
    record = healthy()
    record.score = 0.5
    record.trials.append(Trial("changed", [cause], 100, [0.7, 0.1], 0.97))
    (finding,) = evaluate_rules(record)
    assert finding.cause == cause
    assert 0.97 in finding.evidence.values()
