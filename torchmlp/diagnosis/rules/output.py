"""Outputs and losses that do not belong together, case by case."""

from torchmlp.diagnosis.record.record import Record

PROBABILITIES = ("softmax", "sigmoid", "hardsigmoid")
SQUEEZING = (
    *("relu", "relu6", "tanh", "hardtanh", "softsign", "leaky_relu", "elu", "softplus"),
    *("selu", "celu", "gelu", "silu", "mish", "logsigmoid"),
)
FITTING = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
LOSS_NAMES = {
    "cross_entropy": "cross-entropy",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "mse_loss": "squared error",
    "own": "written out",
}
LINEAR_CE = "End in a linear layer and use CrossEntropyLoss (one unit: BCEWithLogitsLoss)."
Said = tuple[str, str, bool] | None  # why, what to do, whether it is a mistake in any case


def over_the_batch(record: Record) -> Said:
    """A softmax that sums over the samples."""
    design = record.design
    rank = len(design.output_shape)
    over_batch = design.output_axis == -rank or rank == 2  # noqa: PLR2004  (B, K)
    if rank < 2 or design.output_axis in (0, -1) or not over_batch:  # noqa: PLR2004
        return None
    why = (
        "The softmax is over the batch: its probabilities sum to 1 over the batch instead of over "
        "the classes."
    )
    return why, "Give it dim=-1.", True


def not_logits(record: Record) -> Said:
    """A loss that reads logits, and an output that is none."""
    output, loss = record.design.output, record.design.loss
    if loss not in ("cross_entropy", "binary_cross_entropy_with_logits"):
        return None
    name = LOSS_NAMES[loss]
    if output in PROBABILITIES:
        why = (
            f"The network ends in {output}, and {name} applies its own: it sees 'logits' between 0 "
            f"and 1, and its loss cannot fall to 0."
        )
    elif output in SQUEEZING:
        why = (
            f"The network ends in {output}, and {name} reads logits: the values that {output} cuts "
            f"off or squeezes cannot be learned."
        )
    else:
        return None
    return why, f"Leave {output} out: end in a linear layer.", True


def not_log_probabilities(record: Record) -> Said:
    """NLLLoss on what is no log-probability."""
    output = record.design.output
    if record.design.loss != "nll_loss" or output not in (*PROBABILITIES, *SQUEEZING):
        return None
    why = (
        f"NLLLoss reads log-probabilities, and the network ends in {output}: its loss is unbounded "
        f"below, or bounded by −1, and not a likelihood."
    )
    return why, "End in log_softmax, or in a linear layer with CrossEntropyLoss.", True


def not_probabilities(record: Record) -> Said:
    """BCELoss on what is no probability."""
    output = record.design.output
    if record.design.loss != "binary_cross_entropy" or output not in SQUEEZING:
        return None
    why = (
        f"BCELoss reads probabilities, and the network ends in {output}, which gives 0, or values "
        f"outside 0 to 1."
    )
    return why, "End in a linear layer and use BCEWithLogitsLoss.", True


def exclude_each_other(record: Record) -> Said:
    """Cross-entropy for rows in which several labels, or none, can be true."""
    design, targets = record.design, record.targets
    if targets is None or targets.kind != "labels" or design.loss != "cross_entropy":
        return None
    if design.output not in ("identity", *SQUEEZING) or design.output_shape != design.target_shape:
        return None
    why = (
        f"The targets are rows of {targets.classes} labels, {targets.mean * targets.classes:.2g} "
        f"of them true on average, and cross-entropy takes a row for the shares of classes that "
        f"exclude each other and sum to 1."
    )
    return why, "Use BCEWithLogitsLoss, which asks about each label by itself.", True


def sums_to_one(record: Record) -> Said:
    """A softmax for numbers, or for labels of which several can be right."""
    design, targets = record.design, record.targets
    softmax = design.output in ("softmax", "log_softmax") and design.output_units > 1
    if targets is None or not softmax:
        return None
    if targets.kind == "numbers":
        why = "The outputs of the softmax sum to 1, and the targets are numbers that do not."
        return why, "Leave the softmax out.", True
    if targets.kind == "labels":
        why = (
            "Several labels can be true at once; a softmax forces their probabilities to sum to 1."
        )
        return why, "End in a linear layer and use BCEWithLogitsLoss.", True
    return None


def fitted_classes(record: Record) -> Said:
    """Classes by a loss for numbers: it can work, and is named where the run fails."""
    design, targets = record.design, record.targets
    if targets is None or targets.kind != "classes" or record.nonfinite:
        return None
    if design.loss in FITTING and design.output != "tanh":
        why = f"Classes are fitted with {LOSS_NAMES.get(design.loss, design.loss)}" + (
            f": behind {design.output} its gradient vanishes where the network is surely wrong."
            if design.output in PROBABILITIES
            else ", and it punishes answers that are right by far."
        )
        return why, LINEAR_CE, False
    if design.loss == "binary_cross_entropy" and design.output == "softmax":
        why = "The softmax's classes exclude each other, and BCELoss takes them one by one."
        return why, LINEAR_CE, False
    return _written_out(record) if design.loss == "own" else None


def _written_out(record: Record) -> Said:
    design = record.design
    if design.output in SQUEEZING:
        why = (
            f"The network ends in {design.output}, and the classes' scores cannot leave its range."
        )
        return why, LINEAR_CE, False
    if any("output-loss-mismatch" in trial.causes for trial in record.trials):
        why = (
            "The loss is none that tells classes apart well: on the same raw outputs and data, in "
            "as many steps, cross-entropy does better."
        )
        return why, LINEAR_CE, False
    return None


CASES = (
    over_the_batch,
    not_logits,
    not_log_probabilities,
    not_probabilities,
    exclude_each_other,
    sums_to_one,
    fitted_classes,
)
