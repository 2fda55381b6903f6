"""The rules of the diagnosis: pure functions of a record, one file for each moment."""

from collections.abc import Callable, Iterator

from torchmlp.health.findings import Finding
from torchmlp.health.record import Record
from torchmlp.health.rules import data, design, dynamics, gradient, start

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
