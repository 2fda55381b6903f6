"""The parts of a loop by themselves, for a diagnosis: model, loss, optimizer and batches.

A loop may be right and its parts wrong: softmax before a cross-entropy, a rate that is too high,
weights of zero. What a plain loop shows of them (one model, one loss of torch's on its output) is
copied before the first step and handed to `diagnose`.
"""

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.optim import LBFGS, Optimizer

from torchmlp.diagnosis.diagnose import diagnose_run
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, CannotDiagnoseError, TrainingRun
from torchmlp.watching.seen.loop import Backward, Call, Loop
from torchmlp.watching.seen.sites import Site, users_site

MOST_PARAMETERS = 20_000_000  # that are copied
MOST_BYTES = 64 << 20  # of batches
STEPS = 100
FALLEN = 0.8  # of the first loss
LOSSES = frozenset(
    {"cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
    | {"binary_cross_entropy", "binary_cross_entropy_with_logits"}
)


class Parts:
    """Copies of a plain loop's parts.

    Attributes:
        run: the run that stands ready, once `ready` was asked; None where none was understood.
    """

    only_close = frozenset({"backward_started"})
    functions = LOSSES

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.loss: tuple[str, dict[str, Any], tuple[int, ...]] | None = None
        self.heard: tuple[str, dict[str, Any], Tensor, Tensor, Tensor] | None = None
        self.copies: tuple[nn.Module, Optimizer] | None = None
        self.original: nn.Module | None = None
        self.batches: list[Batch] = []
        self.bytes = 0
        self.is_odd = False
        self.losses: list[float] = []
        self.loss_site: Site | None = None
        self.model_site: Site | None = None
        self.optimizer_site: Site | None = None

    def function_called(
        self, name: str, args: Any, kwargs: Any, result: Any, _stack: list[nn.Module]
    ) -> None:
        """Remember the loss of this step."""
        if name not in LOSSES or not isinstance(result, Tensor) or not result.requires_grad:
            return
        names = ("input", "target")
        given = dict(zip(names, args, strict=False)) | kwargs
        output, target = given.pop("input", None), given.pop("target", None)
        if len(args) <= len(names) and isinstance(output, Tensor) and isinstance(target, Tensor):
            self.heard = (name, given, output, target, result)
            self.loss_site = self.loss_site or users_site()

    def backward_started(self, backward: Backward) -> None:
        """Copy the parts before the first step, and the batch of each."""
        heard, self.heard = self.heard, None
        if self.is_odd or not self.loop.is_close:
            return
        self.losses += [float(root.detach()) for root in backward.roots if root.numel() == 1]
        calls = [c for c in backward.calls if c.tracks_gradients and _is_network(c.module)]
        pair = _plain(calls, heard, backward)
        models = {id(call.module) for call in calls}
        known = self.original is None or id(self.original) in models
        if pair is None or len(models) != 1 or not known:
            self.is_odd = True
            return
        assert heard is not None
        if self.copies is None and not self._copy(calls[0].module, heard):
            self.is_odd = True
            return
        self.bytes += sum(t.numel() * t.element_size() for t in pair)
        if self.bytes <= MOST_BYTES:
            self.batches.append((pair[0].detach().clone(), pair[1].detach().clone()))

    def _copy(self, model: nn.Module, heard: Any) -> bool:
        own = list(model.parameters())
        optimizer = next((seen.ref() for p in own for seen in self.loop.optimizers_of(p)), None)
        if isinstance(optimizer, LBFGS):
            return False  # a copy of it cannot take a step
        if optimizer is None or self.loop.steps or sum(p.numel() for p in own) > MOST_PARAMETERS:
            return False
        try:
            self.copies = copy.deepcopy((model, optimizer))
        except Exception:  # noqa: BLE001  whatever a user's class does when it is copied
            return False
        name, options, output, _, _ = heard
        self.loss = (name, options, tuple(output.shape[1:]))
        self.original = model
        self.model_site = self.loop.made(model)[0]
        self.optimizer_site = self.loop.seen(optimizer).made
        return True

    @property
    def learns(self) -> bool:
        """Whether the losses of the first steps have fallen clearly below the first of all."""
        tenth = self.losses[-max(len(self.losses) // 10, 1) :]
        return sum(tenth) / len(tenth) < FALLEN * self.losses[0]

    def placed(self, finding: Finding) -> Finding:
        """A finding of the diagnosis with the line of the part it is about."""
        if finding.file is not None:
            return finding
        if finding.quantity == "lr":
            site = self.optimizer_site
        elif finding.quantity in {"weight", "z", "a", "delta", "gradient"}:
            site = self.model_site
        else:
            site = self.loss_site
        return replace(finding, file=site.file, line=site.line) if site else finding

    def ready(self) -> TrainingRun | None:
        """The run that these parts are; None where the loop is no plain one."""
        if self.is_odd or self.copies is None or self.loss is None or not self.batches:
            return None
        name, options, shape = self.loss

        def loss(output: Tensor, target: Tensor) -> Tensor:
            return getattr(functional, name)(output.reshape(-1, *shape), target, **options)  # type: ignore[no-any-return]  # a loss of torch's

        model, optimizer = self.copies
        try:
            return TrainingRun(model, loss, optimizer, self.batches)
        except CannotDiagnoseError:
            return None


def _is_network(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _plain(calls: list[Call], heard: Any, backward: Backward) -> Batch | None:
    """Input and target of a step with one model and one loss on its output; None of any other."""
    if heard is None or len(backward.roots) != 1:
        return None
    _, _, output, target, result = heard
    # The output itself, or a view of all of it: output.squeeze(1).
    call = next(
        (
            call
            for call in calls
            if isinstance(made := call.output, Tensor)
            and (
                output is made
                or (output.data_ptr() == made.data_ptr() and output.numel() == made.numel())
            )
        ),
        None,
    )
    if result is not backward.roots[0] or call is None or len(call.args) != 1:
        return None
    x = call.args[0]
    if not isinstance(x, Tensor) or not x.ndim or not target.ndim:
        return None
    return (x, target) if len(x) == len(target) == len(call.output) else None


def diagnosed(run: TrainingRun, *, remedies: bool) -> Report | None:
    """The report of the parts; None where they cannot be looked at by themselves."""
    try:
        return diagnose_run(run, min(STEPS, 2 * len(run.batches)), remedies=remedies)
    except (*USER_ERRORS, CannotDiagnoseError):
        return None
