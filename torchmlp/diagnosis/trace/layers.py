"""The layers of a traced pass."""

from dataclasses import dataclass

from torch import Tensor, nn

from torchmlp.diagnosis.trace.op_names import (
    ACTIVATIONS,
    ADDITIONS,
    NONLINEAR_OPS,
    PRODUCTS,
    RECURRENT,
)
from torchmlp.diagnosis.trace.trace import Call


@dataclass
class TracedLayer:
    """A layer in a pass: its call, and the calls up to the next layer's.

    Attributes:
        call: the multiplication.
        after: what follows it, up to the next layer.
        activation: the call that bends it; None if nothing does, or it is written out.
        is_nonlinear: whether there is a nonlinearity after it at all.
    """

    call: Call
    after: list[Call]
    activation: Call | None
    is_nonlinear: bool

    @property
    def last_linear(self) -> Call:
        """The call whose output is z: the layer's, or that which adds its bias by hand."""
        call = self.call
        for after in self.after:
            if after.name not in ADDITIONS or after.output.shape != call.output.shape:
                break
            call = after
        return call

    @property
    def x(self) -> Tensor:
        """What is multiplied by the weight."""
        return self.call.args[1 if self.call.name in ("addmm", "addmv", "baddbmm") else 0]

    @property
    def z(self) -> Tensor:
        """The pre-activation: what the activation reads, after a normalisation if there is one."""
        return self.activation.args[0] if self.activation else self.last_linear.output

    @property
    def a(self) -> Tensor:
        """The activation: what it returns, or what a written-out one ends with."""
        if self.activation:
            return self.activation.output
        if self.is_nonlinear:
            same = [c.output for c in self.after if c.output.shape == self.call.output.shape]
            return same[-1] if same else self.call.output
        return self.last_linear.output

    @property
    def name(self) -> str:
        """The activation's name, "own" for a written-out one."""
        if self.activation:
            return self.activation.name
        return "own" if self.is_nonlinear else "identity"


def _multiplies(call: Call) -> bool:
    """Whether it is a product of two things that were computed: a gate, or attention by hand."""
    computed = [t for t in call.args if t.ndim > 1 and not isinstance(t, nn.Parameter)]
    is_product = call.name in PRODUCTS and not call.weight
    return is_product and len([t for t in computed if t.requires_grad]) > 1


def find_layers(calls: list[Call]) -> list[TracedLayer]:
    """The layers of a pass, in the order they are computed.

    The last one has what follows it in the model: the output's function stands in `after`.
    """
    starts = [k for k, call in enumerate(calls) if call.weight and call.phase == "model"]
    found: list[TracedLayer] = []
    if not starts:
        return found
    model = [call for call in calls if call.phase == "model"]
    for start, end in zip(starts, [*starts[1:], len(model)], strict=True):
        after = calls[start + 1 : end]
        bending = [c for c in after if c.name in ACTIVATIONS and c.args]
        recurrent = calls[start].name in RECURRENT
        written = any(c.name in NONLINEAR_OPS or _multiplies(c) for c in after) or recurrent
        found.append(
            TracedLayer(
                calls[start], after, bending[0] if bending else None, bool(bending) or written
            )
        )
    return found
