"""A cause is what a run recovers without; the rest are its symptoms."""

import math
from dataclasses import replace

import pytest

from tests.diagnosis.rules.test_rules import healthy
from torchmlp.diagnosis.record.record import NonFinite, Record, Trial
from torchmlp.diagnosis.rules.attribution import (
    UNTOUCHED,
    is_improvement,
    judge,
    rank_trials,
    untouched_score,
)
from torchmlp.diagnosis.rules.evaluate import evaluate_rules


def failing(*trials: tuple[str, float]) -> Record:
    """A run at chance with too large weights and too high a rate, and what was tried of it."""
    record = healthy()
    record.score = 0.5
    record.layers[0].gain, record.layers[0].weight_std = 20.0, 14.0
    record.same_batch_loss_ratio = [2.0] * 20
    tried = [Trial(cause, [cause], 100, [1.0, 0.1], score) for cause, score in trials]
    record.trials = [Trial(UNTOUCHED, [], 100, [1.0, 1.0], 0.5), *tried]
    return record


def named(record: Record) -> list[str]:
    return [finding.cause for finding in judge(record)]


def test_the_failing_run_has_two_suspects() -> None:
    """Between which the trials decide."""
    causes = [finding.cause for finding in evaluate_rules(failing())]
    assert causes == ["init-too-large", "learning-rate-too-high"]


@pytest.mark.parametrize(
    ("of_init", "of_rate", "cause"),
    [
        (0.98, 0.55, "init-too-large"),
        (0.55, 0.98, "learning-rate-too-high"),
        (0.98, 0.98, "init-too-large"),
    ],
)
def test_the_change_that_helps_tells_the_cause(of_init: float, of_rate: float, cause: str) -> None:
    """Where both help, what was wrong before the run began; the other is its symptom."""
    record = failing(("init-too-large", of_init), ("learning-rate-too-high", of_rate))
    findings = judge(record)
    assert [finding.cause for finding in findings] == [cause]
    (symptom,) = {"init-too-large", "learning-rate-too-high"} - {cause}
    assert findings[0].symptoms == (symptom,)


def test_two_causes_are_named_where_it_takes_both() -> None:
    """Neither change suffices, and the two together do."""
    record = failing(("init-too-large", 0.6), ("learning-rate-too-high", 0.6))
    both = ["init-too-large", "learning-rate-too-high"]
    record.trials.append(Trial("both", both, 100, [1.0, 0.1], 0.99))
    assert named(record) == both


def test_something_is_named_where_nothing_helps() -> None:
    """What was seen at the start."""
    record = failing(("init-too-large", 0.5), ("learning-rate-too-high", 0.5))
    assert named(record) == ["init-too-large"]


def test_a_run_that_learns_as_well_as_its_trials_has_no_finding() -> None:
    """However suspicious it looks; one that learns nothing has."""
    for score, best, is_named in ((0.85, 0.86, False), (0.85, 0.9, False), (0.7, 0.95, True)):
        record = failing(("init-too-large", best), ("learning-rate-too-high", 0.5))
        assert record.targets
        record.targets.nearest_mean = record.targets.nearest_neighbour = None
        record.score = score
        record.trials[0] = replace(record.trials[0], score=score)
        assert evaluate_rules(record)
        assert bool(judge(record)) == is_named


def test_without_trials_the_first_suspect_is_named() -> None:
    """The earliest cause explains the others."""
    findings = judge(failing())
    assert [finding.cause for finding in findings] == ["init-too-large"]
    assert findings[0].symptoms == ("learning-rate-too-high",)


def test_a_run_that_does_well_has_no_finding() -> None:
    """Large weights and all."""
    record = failing()
    record.score = 0.99
    record.trials[0] = replace(record.trials[0], score=0.99)
    assert evaluate_rules(record)
    assert judge(record) == []


def test_a_mistake_is_named_of_a_run_that_does_well_too() -> None:
    """What is wrong however the run ends."""
    record = healthy()
    record.design.output = "softmax"
    assert named(record) == ["output-loss-mismatch"]


def test_a_run_that_broke_does_not_do_well() -> None:
    """Whatever it had reached."""
    record = failing()
    record.score, record.nonfinite = 0.99, NonFinite(50, 1, "z", "linear", "inf")
    assert judge(record)


def test_judging_is_pure() -> None:
    """Twice the same, and the record unchanged."""
    record = failing(("init-too-large", 0.98), ("learning-rate-too-high", math.nan))
    before = record.to_json()
    assert judge(record) == judge(record)
    assert record.to_json() == before


def test_trials_are_ranked_by_score() -> None:
    """The best first, fewer changes before more, those that broke last; the run itself is none."""
    record = failing(("a", 0.6), ("b", math.nan), ("c", 0.9))
    record.trials.append(Trial("a, c", ["a", "c"], 100, [1.0, 0.1], 0.9))
    assert [trial.name for trial in rank_trials(record)] == ["c", "a, c", "a", "b"]


def test_a_trial_helps_that_does_clearly_better() -> None:
    """Than the run itself; one that broke does not."""
    record = failing(("a", 0.9), ("b", 0.505), ("c", math.nan))
    assert [is_improvement(trial, record) for trial in record.trials[1:]] == [True, False, False]


@pytest.mark.parametrize(("score", "counted"), [(0.7, 0.7), (math.nan, 0.5), (-3.0, 0.0)])
def test_a_run_that_broke_is_as_good_as_guessing(score: float, counted: float) -> None:
    """And explained variance below 0 explains nothing."""
    record = failing()
    record.trials[0] = replace(record.trials[0], score=score)
    assert untouched_score(record) == counted
