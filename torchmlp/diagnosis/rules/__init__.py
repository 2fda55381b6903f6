"""The rules of the diagnosis: pure functions of a record, one file for each moment."""

from collections.abc import Callable, Iterator

from torchmlp.diagnosis.record import Record
from torchmlp.diagnosis.rules import data, design, dynamics, gradient
from torchmlp.diagnosis.rules import init as start
from torchmlp.diagnosis.rules.causes import Finding

Rule = Callable[[Record], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    *data.RULES,
    *gradient.RULES,
    *design.RULES,
    *start.RULES,
    *dynamics.RULES,
)


def suspects(record: Record) -> list[Finding]:
    """All that any rule names, one finding for each cause, in the rules' order."""
    found: dict[str, Finding] = {}
    for rule in RULES:
        for finding in rule(record):
            found.setdefault(finding.cause, finding)
    return list(found.values())
