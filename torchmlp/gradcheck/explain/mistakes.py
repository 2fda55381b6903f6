"""The mistakes a backward pass can hold: their names, what each one is, and the line that mends it.

Lines are in the notation of `torchmlp.kernels.network`; layers are counted from 1 to L.
"""

from dataclasses import dataclass, field
from textwrap import fill

# name: (what was done, the corrected line). {l} is the layer, {up} the one above it, {L} the last.
_TEXTS: dict[str, tuple[str, str]] = {
    "sign": (
        "the gradient points uphill: its sign is the opposite",
        "W_{l} ← W_{l} − η ∂E/∂W_{l}, with ∂E/∂W_{l} = +(1/B) δ_{l}ᵀ a_{down}",
    ),
    "not-averaged": (
        "the sum over the batch was not divided by its size",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}",
    ),
    "averaged-twice": (
        "the sum over the batch was divided by its size more than once",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}, with δ_{l} per sample, not divided by B",
    ),
    "factor": (
        "the gradient is off by a constant factor",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}, δ_{L} = e'(a_{L}, t) ⊙ φ_{L}'(z_{L}), times one",
    ),
    "bias-not-averaged": (
        "the bias gradient was summed over the batch and not divided by its size",
        "∂E/∂b_{l} = (1/B) Σ_i δ_{l}[i]",
    ),
    "bias-wrong-axis": (
        "the bias gradient was not summed over the batch but over another axis",
        "∂E/∂b_{l} = (1/B) Σ_i δ_{l}[i], the sum over the rows i",
    ),
    "transposed-weight-gradient": (
        "the weight gradient is the transpose of the right one",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}, of shape (fan_out, fan_in), not a_{down}ᵀ δ_{l}",
    ),
    "missing-activation-derivative": (
        "the activation's derivative, or a part of it, was left out of the delta",
        "δ_{l} = (δ_{up} W_{up}) ⊙ φ_{l}'(z_{l})",
    ),
    "derivative-at-activation": (
        "the activation's derivative was taken at the wrong one of z and a",
        "δ_{l} = (δ_{up} W_{up}) ⊙ φ_{l}'(z_{l})",
    ),
    "wrong-mask": (
        "something else stands in the place of the activation's derivative",
        "δ_{l} = (δ_{up} W_{up}) ⊙ φ_{l}'(z_{l})",
    ),
    "missing-output-derivative": (
        "the output's derivative was left out of the last delta",
        "δ_{L} = e'(a_{L}, t) ⊙ φ_{L}'(z_{L})",
    ),
    "doubled-output-derivative": (
        "the output's derivative went into the last delta twice",
        "δ_{L} = e'(a_{L}, t) ⊙ φ_{L}'(z_{L})",
    ),
    "weight-not-transposed": (
        "the delta was passed down through another matrix than the weight above",
        "δ_{down} = (δ_{l} W_{l}) ⊙ φ_{down}'(z_{down})",
    ),
    "weight-already-updated": (
        "the delta went through a weight that the descent step had already changed",
        "δ_{down} = (δ_{l} W_{l}) ⊙ φ_{down}'(z_{down}), and only then W_{l} ← W_{l} − η ∂E/∂W_{l}",
    ),
    "detached-layer": (
        "no gradient arrives here: the graph is cut, or the parameters were left out",
        "δ_{l} = (δ_{up} W_{up}) ⊙ φ_{l}'(z_{l})",
    ),
    "accumulated": (
        "the gradients of several calls were added up",
        "set the gradients to zero before every call: ∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}",
    ),
    "softmax-wrong-axis": (
        "the softmax was taken over another axis than the classes",
        "δ_{L} = softmax(z_{L}) − t, each row i of softmax(z_{L}) summing to one",
    ),
    "cross-sample": (
        "samples of the batch leak into each other: it is right for a batch of one only",
        "∂E/∂W_{l} = (1/B) Σ_i δ_{l}[i]ᵀ a_{down}[i], each sample's delta with its own input",
    ),
    "weight-decay-missing": (
        "the weight decay was left out",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down} + λ W_{l}",
    ),
    "weight-decay-doubled": (
        "the weight decay was added twice",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down} + λ W_{l}",
    ),
    "weight-decay-halved": (
        "half the weight decay was added: the derivative of ½ λ ‖W‖² is λ W, of λ ‖W‖² it is 2 λ W",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down} + λ W_{l}",
    ),
    "bias-decayed": (
        "the bias was decayed, and the loss holds the weights' decay alone",
        "∂E/∂b_{l} = (1/B) Σ_i δ_{l}[i], without λ b_{l}",
    ),
    "other-loss": (
        "the gradient is that of another loss than the one reported",
        "δ_{L} = e'(a_{L}, t) ⊙ φ_{L}'(z_{L}), e the loss that is reported",
    ),
    "unknown": (
        "the gradient is wrong in a way this catalogue does not know",
        "∂E/∂W_{l} = (1/B) δ_{l}ᵀ a_{down}, δ_{l} = (δ_{up} W_{up}) ⊙ φ_{l}'(z_{l})",
    ),
}
NAMES = tuple(_TEXTS)


@dataclass(frozen=True)
class Mistake:
    """A mistake found in the given gradients.

    Attributes:
        name: one of `NAMES`.
        layer: 1 to L; None where the whole network has it.
        evidence: numbers that speak for it. "relative error" is ‖given − right‖ / ‖right‖ over
            `parameters`; "left unexplained" is the same once all mistakes found are allowed for;
            further ones belong to the mistake: "factor", "rate", "weight decay".
        correction: the line of the algorithm as it should be.
        parameters: names of the gradients that show it.
        explanation: what was done, in words.
        alternative: the very same gradients would come of this mistake instead of the ones listed
            before it.
    """

    name: str
    layer: int | None
    evidence: dict[str, float]
    correction: str
    parameters: tuple[str, ...]
    explanation: str
    alternative: bool = field(default=False)

    def __str__(self) -> str:
        """Name, place, explanation, numbers, and the corrected line, a line each."""
        where = "the whole network" if self.layer is None else f"layer {self.layer}"
        explanation = fill(self.explanation, 100, initial_indent="  ", subsequent_indent="  ")
        numbers = ", ".join(
            f"nothing {key}"
            if key == "left unexplained" and value < 1e-9  # noqa: PLR2004  roundings
            else f"{key} {value:.3g}"
            for key, value in self.evidence.items()
        )
        shown = ", ".join(self.parameters[:6]) + (", ..." if len(self.parameters) > 6 else "")  # noqa: PLR2004  a line
        return (
            f"{'or ' if self.alternative else ''}{self.name}, {where} ({shown})\n"
            f"{explanation}\n"
            f"  {numbers}\n"
            f"  correct: {self.correction}"
        )


def mistake(
    name: str,
    layer: int | None,
    depth: int,
    *,
    parameters: tuple[str, ...],
    evidence: dict[str, float],
    note: str = "",
    alternative: bool = False,
) -> Mistake:
    """A `Mistake` with its texts; `note` says which form of the mistake it is."""
    what, line = _TEXTS[name]
    places = {"l": "l", "up": "{l+1}", "down": "{l−1}", "L": str(depth)}
    if layer is not None:
        places |= {"l": str(layer), "up": str(layer + 1), "down": str(layer - 1)}
    if layer == depth:  # nothing stands above it but the loss
        line = line.replace("(δ_{up} W_{up})", "e'(a_{L}, t)")
    return Mistake(
        name,
        layer,
        evidence,
        line.format(**places),
        parameters,
        f"{what}: {note}" if note else what,
        alternative,
    )
