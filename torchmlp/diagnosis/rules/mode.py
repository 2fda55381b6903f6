"""Training in evaluation mode."""

from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.rules.causes import Finding

SHOWN = 3


def wrong_mode(record: Record) -> Iterator[Finding]:
    """The whole model is in evaluation mode, and parts of it compute otherwise in training."""
    names = record.design.evaluating
    if not names:
        return
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    yield Finding(
        "wrong-mode",
        None,
        "a",
        0,
        {"modules": float(len(names))},
        f"The model is in evaluation mode, and trains so: {', '.join(names[:SHOWN])}{more} "
        f"{'computes' if len(names) == 1 else 'compute'} otherwise in training. In evaluation, "
        f"batch normalisation takes its running statistics, and dropout drops nothing.",
        "Call model.train() before the training loop, and again after every evaluation.",
        certain=True,
        code="model.train()",
    )


RULES = (wrong_mode,)
