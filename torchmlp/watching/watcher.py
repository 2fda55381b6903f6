"""Watching whatever trains: the context manager."""

from collections.abc import Callable
from types import TracebackType

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule
from torchmlp.watching.causes.rules import rules_for
from torchmlp.watching.listening.listener import Listener, unheard
from torchmlp.watching.parts import Parts, diagnosed
from torchmlp.watching.report import WatchReport
from torchmlp.watching.seen.loop import Loop


class watch:  # noqa: N801  used as a function is: with watch() as watched
    """Watch the training loop that runs inside, and find the mistakes in it.

    Args:
        steps: optimizer steps that are watched; None watches all.
        fix: whether changes are tried afterwards, on copies, where the loop itself is right.
        at_end: is given the report where `steps` are over before the block is.

    Attributes:
        was_told: whether `at_end` was given the report.

    Raises:
        ValueError: fewer than one step.

    Example:
        >>> import torch
        >>> model, x = torch.nn.Linear(2, 1), torch.randn(8, 2)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with watch() as watched:
        ...     for _ in range(9):
        ...         model(x).square().mean().backward()
        ...         sgd.step()
        >>> [finding.cause for finding in watched.report.findings]
        ['gradients-not-cleared']
    """

    def __init__(
        self,
        steps: int | None = None,
        *,
        fix: bool = False,
        at_end: Callable[[WatchReport], None] | None = None,
    ) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"steps: expected at least 1, got {steps}")
        self._loop = Loop()
        listening, self._rules = rules_for(self._loop)
        self._parts, self._fix = Parts(self._loop), fix
        self._listener = Listener(self._loop, [self._parts, *listening], limit=steps)
        self._listener.at_limit = self._at_limit
        self._at_end, self.was_told = at_end, False
        self._report: WatchReport | None = None

    @property
    def report(self) -> WatchReport:
        """What was found; judged once the block has ended or the steps are over."""
        if self._report is not None:
            return self._report
        return self._judged()

    def __enter__(self) -> "watch":  # noqa: PYI034  beartype refuses Self here
        """Listen from now on."""
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave everything as it was, and judge."""
        self._end()

    def _at_limit(self) -> None:
        self._end(in_step=True)
        if self._at_end is not None and self._report is not None:
            self.was_told = True
            self._at_end(self._report)

    def _end(self, *, in_step: bool = False) -> None:
        is_first = self._listener.is_on
        self._listener.stop(in_step=in_step)
        if is_first:
            self._report = self._judged()

    def _judged(self) -> WatchReport:
        with unheard():
            return self._judge()

    def _judge(self) -> WatchReport:
        found = _ranked(self._rules)
        findings = [f for f in found if f.certain]
        perhaps = [f for f in found if not f.certain]
        diagnosis = None
        if not findings and (run := self._parts.ready()) is not None:
            diagnosis = diagnosed(run, remedies=self._fix)
            # What lies in the loop was looked for where it runs.
            judged = {rule.cause for rule in self._rules}
            of_parts = [f for f in diagnosis.findings if f.cause not in judged] if diagnosis else []
            # What is no mistake in itself is one where the script's own losses do not fall.
            sure = [f for f in of_parts if f.certain or not self._parts.learns]
            findings = [self._parts.placed(f) for f in sure]
            perhaps += [self._parts.placed(f) for f in of_parts if f not in sure]
        return WatchReport(
            findings,
            perhaps,
            self._loop.steps,
            self._loop.backwards,
            self._listener.cannot,
            diagnosis,
        )


def _ranked(rules: list[Rule]) -> list[Finding]:
    """All that was found, root causes first, one finding for a cause."""
    found: dict[str, tuple[int, Finding]] = {}
    for rule in rules:
        finding = rule.found()
        if finding is not None and finding.cause not in found:
            found[finding.cause] = (rule.stage, finding)
    explained = {name for _, f in found.values() for name in f.symptoms if f.certain}
    kept = [(stage, f) for stage, f in found.values() if f.cause not in explained]
    return [f for _, f in sorted(kept, key=lambda pair: (not pair[1].certain, pair[0]))]
