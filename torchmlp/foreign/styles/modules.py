"""torch modules whose gradients are written by hand in autograd Functions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torchmlp.foreign.calling.binding import shown
from torchmlp.foreign.calling.layouts import Form, Sample
from torchmlp.foreign.calling.sessions import Script, Session, quiet
from torchmlp.foreign.calling.slots import Finder
from torchmlp.foreign.styles.classes import make
from torchmlp.foreign.styles.defined import classes_of
from torchmlp.foreign.styles.functions import known_values
from torchmlp.foreign.styles.way import Candidate, Way


def candidates(
    namespace: Mapping[str, Any], wanted: str | None, boxes: Sequence[str]
) -> Iterator[Candidate]:
    """The modules of a file that is torch's."""
    if "torch" not in boxes:
        return
    import torch  # noqa: PLC0415  the program's own choice

    for name, kind in classes_of(namespace).items():
        if issubclass(kind, torch.nn.Module) and wanted in (None, name):
            form = Form(box="torch")
            yield Candidate(
                name,
                2,
                [Way(_starter(kind, form), Script(("forward", "backward"), "", ()), form)],
                shown(kind, name),
            )


def _starter(kind: type, form: Form) -> Any:
    import torch  # noqa: PLC0415  the program's own choice

    find = Finder()

    def start(sample: Sample) -> Session:
        with quiet():
            module = make(kind, sample, form).double()
        parameters = dict(module.named_parameters())
        slots = find(parameters, sample.widths)
        slots.set(sample.weights, sample.biases)
        made: list[Any] = []

        def forward(x: Any) -> Any:
            made[:] = [module(x)]
            return made[0].detach()

        def backward(y: Any) -> Any:
            # ½ squared error: every output has an error of its own, whatever stands before it.
            loss = 0.5 * (made[0] - y).square().sum() / len(y)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            zeros = [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(parameters.values(), found, strict=True)
            ]
            return loss.item(), dict(zip(parameters, zeros, strict=True))

        return Session(
            {"forward": forward, "backward": backward},
            known_values(sample, form),
            slots,
            form,
            sample,
        )

    return start
