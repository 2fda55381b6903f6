"""What might help against a cause: changes to try, told as data."""

from dataclasses import dataclass, fields, replace
from typing import Any

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.rules.causes import Finding

HIGH_MOMENTUM = 0.95
ADAM_LR = 0.001  # torch's own
RATES_DOWN = (0.1, 0.01, 0.001)
RATES_UP = (10.0, 100.0, 1000.0, 1e5)
LONGER = 5
FAR = 3.0  # a target's mean or std that is no longer of order 1


@dataclass(frozen=True)
class Change:
    """A change to a run, from its own start.

    Attributes:
        name: in words.
        causes: what it is a remedy of.
        init: whether all layers' weights are drawn anew, by what follows them; biases 0.
        activation: what the hidden layers' activations become; "" leaves them.
        stable_head: whether the loss is replaced by the stable one of the last layer's own values.
        lr_factor: factor of the learning rate.
        lr: the rate that it leads to.
        momentum: the momentum, or first beta; None leaves it.
        decay: whether the rate falls to 0 over the trial.
        inputs: whether each feature is brought to mean 0 and std 1.
        targets: "standardized", "from 0", or "".
        only_finite: whether samples that are not finite are left out.
        float32: whether everything is done in float32.
        balanced: whether the classes get equal weights.
        longer: factor of the steps.
        adam: whether Adam at its own rate takes the optimizer's place.
        autograd: whether hand-written derivatives are left to autograd, and cuts in it mended.
        guarded: whether logarithms, roots and divisors are kept from 0, exponentials from overflow.
        shuffled: whether the samples are dealt out to the batches anew.
        training_mode: whether the whole model is in training mode.
        negated: whether the loss gets the other sign.
        same_shape: whether targets get the output's shape before the loss.
        all_trained: whether every parameter requires a gradient and is the optimizer's.
    """

    name: str
    causes: tuple[str, ...]
    init: bool = False
    activation: str = ""
    stable_head: bool = False
    lr_factor: float = 1.0
    lr: float = 0.0
    momentum: float | None = None
    decay: bool = False
    inputs: bool = False
    targets: str = ""
    only_finite: bool = False
    float32: bool = False
    balanced: bool = False
    longer: int = 1
    adam: bool = False
    autograd: bool = False
    guarded: bool = False
    shuffled: bool = False
    training_mode: bool = False
    negated: bool = False
    same_shape: bool = False
    all_trained: bool = False


# What the package's own classifier has no setting for.
_BEYOND = (
    *("inputs", "targets", "only_finite", "balanced", "shuffled", "decay"),
    *("training_mode", "negated", "same_shape", "all_trained"),
)


def changes(finding: Finding, record: Record) -> list[Change]:
    """What to try against a cause, each by itself."""
    cause = (finding.cause,)
    classes = record.targets is not None and record.targets.kind != "numbers"
    head = "cross-entropy on the raw outputs" if classes else "squared error on the raw outputs"
    table: dict[str, list[Change]] = {
        "input-non-finite": [
            Change("without the samples that are not finite", cause, only_finite=True)
        ],
        "target-out-of-range": _targets(cause, record, head),
        "input-not-normalized": _inputs(cause, record),
        "labels-constant": [Change("the samples shuffled", cause, shuffled=True)],
        "class-imbalance": [Change("classes weighted equally", cause, balanced=True)],
        "softmax-over-one-unit": [Change(head, cause, stable_head=True)],
        "shape-broadcast": [Change("targets in the output's shape", cause, same_shape=True)],
        "frozen-parameters": [Change("all parameters trained", cause, all_trained=True)],
        "parameters-not-optimized": [Change("all parameters trained", cause, all_trained=True)],
        "wrong-mode": [Change("training mode", cause, training_mode=True)],
        "loss-ascended": [Change("the loss with the other sign", cause, negated=True)],
        "no-gradient": [
            Change("the same forward pass, its derivative by autograd", cause, autograd=True)
        ],
        "output-loss-mismatch": [Change(head, cause, stable_head=True)],
        "missing-output-activation": [Change(head, cause, stable_head=True)],
        "unstable-softmax": [Change(head, cause, stable_head=True)],
        "log-of-zero": [Change(head, cause, stable_head=True)],
        "reported-loss-differs": [
            Change("the derivative of the loss by autograd", cause, autograd=True),
            Change(head, cause, stable_head=True),
        ],
        "missing-nonlinearity": [Change("ReLU between the layers", cause, activation="relu")],
        "unstable-activation": [
            Change("arguments kept in range", cause, guarded=True),
            Change("ReLU in place of it", cause, activation="relu"),
        ],
        "wrong-gradient": [
            Change("the same forward pass, its derivative by autograd", cause, autograd=True),
            Change("torch's ReLU and its gradient", cause, activation="relu"),
        ],
        "symmetric-init": [Change("random initial weights", cause, init=True)],
        "init-not-centred": [Change("weights centred and scaled by fan-in", cause, init=True)],
        "init-too-large": [Change("weights scaled by fan-in", cause, init=True)],
        "init-too-small": [Change("weights scaled by fan-in", cause, init=True)],
        "saturation": [
            Change("weights drawn anew, biases 0", cause, init=True),
            Change("ReLU and He weights", cause, activation="relu", init=True),
        ],
        "dead-units": [
            Change("weights drawn anew, biases 0", cause, init=True),
            Change("leaky ReLU and He weights", cause, activation="leaky_relu", init=True),
        ],
        "exploding-gradient": [
            Change("weights scaled by fan-in", cause, init=True),
            *(_lr(f, record, cause) for f in RATES_DOWN[:2]),
        ],
        "vanishing-gradient": [
            Change("ReLU and He weights", cause, activation="relu", init=True),
            Change("weights scaled by fan-in", cause, init=True),
        ],
        "half-underflow": [Change("float32", cause, float32=True)],
        "learning-rate-too-high": [_lr(f, record, cause) for f in RATES_DOWN],
        "late-divergence": [
            Change("lr decaying to 0", cause, decay=True),
            *(_lr(f, record, cause) for f in RATES_DOWN[:2]),
        ],
        "oscillation": _calmer(cause, record),
    }
    return table.get(finding.cause, [])


def unasked(record: Record) -> list[Change]:
    """Generic remedies, tried on every failing run."""
    found = [_lr(f, record, ("learning-rate-too-high",)) for f in RATES_DOWN[:2]]
    design, targets = record.design, record.targets
    if targets and targets.kind == "classes" and design.loss == "own":
        found.append(
            Change("cross-entropy on the raw outputs", ("output-loss-mismatch",), stable_head=True)
        )
    if design.dtype in ("float16", "bfloat16"):
        found.append(Change("float32", ("half-underflow",), float32=True))
    if record.nonfinite is None:
        found += [_lr(f, record, ("learning-rate-too-low",)) for f in RATES_UP]
        found.append(Change(f"{LONGER} times as many steps", ("too-few-steps",), longer=LONGER))
    return found


def further(record: Record) -> list[Change]:
    """What often helps a run that one change has helped already, though it is no cause's remedy."""
    found = [
        Change("Adam, lr 0.001", (), adam=True),
        Change("weights scaled by fan-in", (), init=True),
        Change("inputs normalised", (), inputs=True),
        Change("ReLU and He weights", (), activation="relu", init=True),
    ]
    rates = [_lr(f, record, ()) for f in (10.0, 0.1)]
    targets = record.targets
    if targets and targets.kind == "numbers" and max(abs(targets.mean), targets.std) > FAR:
        found.append(Change("targets standardised", (), targets="standardized"))
    return rates + found


def together(parts: list[Change]) -> Change:
    """All of them at once; what is set later counts."""
    neutral = Change("", ())
    combined = neutral
    for part in parts:
        set_here = {
            f.name: getattr(part, f.name)
            for f in fields(Change)
            if getattr(part, f.name) != getattr(neutral, f.name)
        }
        combined = replace(
            combined, **{**set_here, "lr_factor": combined.lr_factor * part.lr_factor}
        )
    causes = tuple(dict.fromkeys(cause for part in parts for cause in part.causes))
    first = next((part for part in parts if part.lr), neutral)
    if first.lr:
        combined = replace(combined, lr=first.lr / first.lr_factor * combined.lr_factor)
    return replace(combined, name=_described(combined), causes=causes)


def _described(change: Change) -> str:
    """All that a change does, each thing once."""
    said = {
        "only_finite": "finite samples only",
        "inputs": "inputs normalised",
        "shuffled": "samples shuffled",
        "balanced": "classes weighted equally",
        "autograd": "autograd's derivative",
        "guarded": "arguments kept in range",
        "stable_head": "a stable loss on the raw outputs",
        "same_shape": "targets in the output's shape",
        "negated": "the loss with the other sign",
        "training_mode": "training mode",
        "all_trained": "all parameters trained",
        "init": "weights drawn anew",
        "float32": "float32",
        "decay": "lr decaying to 0",
    }
    words = [word for name, word in said.items() if getattr(change, name)]
    if change.activation:
        words.append(change.activation)
    if change.targets:
        words.append(f"targets {change.targets}")
    if change.adam:
        words.append(f"Adam, lr {ADAM_LR * change.lr_factor:g}")
    elif change.lr_factor != 1:
        words.append(f"lr {change.lr:.3g}")
    if change.momentum is not None:
        words.append(f"momentum {change.momentum:g}")
    if change.longer > 1:
        words.append(f"{change.longer} times as many steps")
    return ", ".join(words)


def patch_of(change: Change, record: Record) -> dict[str, Any] | None:
    """The change as a configuration of this package's own classifier, which has no more settings.

    None where its settings do not reach.
    """
    if any(getattr(change, name) for name in _BEYOND):
        return None
    model = _model_patch(change)
    patch: dict[str, Any] = {"model": {"init_args": model}} if model else {}
    if optimizer := _optimizer_patch(change, record):
        patch["optimizer"] = optimizer
    trainer: dict[str, Any] = {"precision": "32-true"} if change.float32 else {}
    if change.longer > 1:
        trainer["max_steps"] = change.longer * record.design.steps
    if trainer:
        patch["trainer"] = trainer
    return patch or None


def _model_patch(change: Change) -> dict[str, Any]:
    model: dict[str, Any] = {}
    if change.init:
        model["init"] = "auto"
    if change.activation:
        model["activation"] = change.activation
    if change.stable_head:
        model |= {"output_activation": "identity", "loss": "cross_entropy"}
    return model


def _optimizer_patch(change: Change, record: Record) -> dict[str, Any]:
    if change.adam:
        rate = ADAM_LR * change.lr_factor
        return {"class_path": "torch.optim.Adam", "init_args": {"lr": rate}}
    settings: dict[str, Any] = {}
    if change.lr_factor != 1:
        settings["lr"] = record.design.lr * change.lr_factor
    if change.momentum is not None:
        settings["momentum"] = change.momentum
    return {"init_args": settings} if settings else {}


def _lr(factor: float, record: Record, cause: tuple[str, ...]) -> Change:
    rate = record.design.lr * factor
    return Change(f"lr {rate:.3g}", cause, lr_factor=factor, lr=rate)


def _targets(cause: tuple[str, ...], record: Record, head: str) -> list[Change]:
    targets, design = record.targets, record.design
    if targets is None:
        return []
    if targets.kind == "classes":
        if design.loss in ("cross_entropy", "nll_loss"):
            return [Change("labels counted from 0", cause, targets="from 0")]
        return [Change(head, cause, stable_head=True)]
    return [
        Change(
            "targets standardised, raw outputs", cause, targets="standardized", stable_head=True
        ),
        Change(head, cause, stable_head=True),
    ]


def _inputs(cause: tuple[str, ...], record: Record) -> list[Change]:
    found = [Change("inputs normalised", cause, inputs=True)]
    targets = record.targets
    if targets and targets.kind == "numbers" and max(abs(targets.mean), targets.std) > FAR:
        name = "inputs and targets normalised"
        found.append(Change(name, cause, inputs=True, targets="standardized"))
    return found


def _calmer(cause: tuple[str, ...], record: Record) -> list[Change]:
    found = [_lr(f, record, cause) for f in RATES_DOWN[:2]]
    if record.design.momentum > HIGH_MOMENTUM - 0.06:
        found.insert(0, Change("momentum 0.5", cause, momentum=0.5))
        if record.design.momentum > HIGH_MOMENTUM:
            found.insert(0, Change("momentum 0.9", cause, momentum=0.9))
    return found
