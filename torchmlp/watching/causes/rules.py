"""All causes, made for one loop."""

from typing import Any

from torchmlp.watching.causes import batches, losses, modes, order, parameters, replaced, updates
from torchmlp.watching.causes.rule import Rule
from torchmlp.watching.seen.loop import Loop


def rules_for(loop: Loop) -> tuple[list[Any], list[Rule]]:
    """What listens, and of that the rules, which find."""
    orders, reached = order.Orders(loop), parameters.Reached(loop)
    trained = modes.TrainedInEvaluationMode(loop)
    rules: list[Rule] = [
        batches.NotShuffled(loop),
        batches.SameBatch(loop),
        parameters.ParametersNotOptimized(loop, reached),
        parameters.FrozenParameters(loop, reached),
        parameters.NoGradient(loop, reached),
        trained,
        losses.ShapeBroadcast(loop),
        losses.SoftmaxAxis(loop),
        losses.LossAscended(loop),
        losses.GraphKept(loop),
        order.NoBackward(loop, orders),
        order.GradientsNotCleared(loop, orders),
        order.ClearedBeforeStep(loop, orders),
        order.StepBeforeBackward(loop, orders),
        order.NoOptimizerStep(loop, orders),
        replaced.WeightsReset(loop),
        replaced.OptimizerRecreated(loop),
        updates.ClippedAway(loop),
        updates.DecayDominates(loop),
        updates.RateDecayed(loop),
        modes.TestedInTrainingMode(loop, trained),
        modes.DropoutInEvaluation(loop),
    ]
    return [orders, reached, *rules], rules
