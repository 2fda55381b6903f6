"""Every rule, asked of a record."""

from collections.abc import Callable, Iterator

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.rules import data, design, dynamics, gradient, init, mode, parameters, slow
from torchmlp.diagnosis.rules.causes import Finding

Rule = Callable[[Record], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    *data.RULES,
    *parameters.RULES,
    *mode.RULES,
    *gradient.RULES,
    *design.RULES,
    *init.RULES,
    *dynamics.RULES,
    *slow.RULES,
)


def evaluate_rules(record: Record) -> list[Finding]:
    """All that any rule names, one finding for each cause, in the rules' order."""
    found: dict[str, Finding] = {}
    for rule in RULES:
        for finding in rule(record):
            found.setdefault(finding.cause, finding)
    return list(found.values())
