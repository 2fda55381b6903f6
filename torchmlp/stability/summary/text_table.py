"""The map as text: widths down, rates across, and what the bad cells suffer from."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from torchmlp.stability.map.cell import CellResult
from torchmlp.stability.summary.boundary import columns

WIDTH = 80
NOT_RUN = "-"
# From the words to the fewest letters; the numbers are accuracies, and nan's its step.
MARKS = (
    {"nan": "nan@{step}", "diverged": "diverged", "stuck": "stuck", "slow": "slow {share}"},
    {"nan": "nan@{step}", "diverged": "div", "stuck": "stuck", "slow": "s {share}"},
    {"nan": "nan", "diverged": "div", "stuck": "stk", "slow": "s{share}"},
)
KEYS = (
    "0.93 learns, accuracy; nan@12 at that step; slow 0.41 accuracy so far",
    "0.93 learns, accuracy; nan@12 at that step; div diverged; s 0.41 slow, accuracy so far",
    "93 learns, accuracy in %; div diverged; stk stuck; s41 slow, accuracy so far in %",
)


def mark(result: CellResult, terseness: int = 0) -> str:
    """A result in a few letters.

    Args:
        result: of a cell.
        terseness: 0 to 2, an index of `MARKS`.

    Example:
        >>> from torchmlp.stability.map.cell import Cell
        >>> cell = Cell(512, 1, 64, 0.1, "auto", 0)
        >>> slow = CellResult(cell, "slow", None, 2.3, 1.5, 0.41, "too-few-steps", None, 0.0)
        >>> [mark(slow, terseness) for terseness in range(3)]
        ['slow 0.41', 's 0.41', 's41']
    """
    accuracy = result.accuracy or 0.0
    share = f"{100 * accuracy:.0f}" if terseness == len(MARKS) - 1 else f"{accuracy:.2f}"
    return MARKS[terseness].get(result.outcome, "{share}").format(share=share, step=result.step)


def table(results: Iterable[CellResult], width: int = WIDTH) -> str:
    """A block for each batch size, depth and init, then the causes; seeds by the worst outcome.

    Args:
        results: in any order; a combination without one is marked as not run.
        width: letters in a line of the terminal. Where it is narrow the marks get shorter, and
            where that is not enough the rates go on below.
    """
    results = list(results)
    blocks: dict[tuple[int, int, str], dict[int, dict[float, CellResult]]] = {}
    for column, rates in columns(results).items():
        rows = blocks.setdefault((column.batch_size, column.depth, column.init), {})
        rows[column.width] = {rate.cell.lr: rate for rate in rates}
    if not blocks:
        return "no cells yet"
    every = sorted({result.cell.lr for result in results})
    label = max(len("width"), *(len(str(w)) for rows in blocks.values() for w in rows))
    room = max(width - label, 1)
    sizes = [_size(blocks.values(), every, terseness) for terseness in range(len(MARKS))]
    fits = (k for k, size in enumerate(sizes) if size * len(every) <= room)
    terseness = next(fits, len(MARKS) - 1)
    size = sizes[terseness]
    at_once = max(room // size, 1)
    lines: list[str] = []
    for (batch_size, depth, init), rows in sorted(blocks.items()):
        layers = f"{depth} hidden layer{'s' * (depth > 1)}"
        lines += textwrap.wrap(f"batch {batch_size}, {layers}, init {init}", width)
        for start in range(0, len(every), at_once):
            shown = every[start : start + at_once]
            lines.append("width".rjust(label) + "".join(f"{lr:.3g}".rjust(size) for lr in shown))
            for units, row in rows.items():
                marks = [mark(row[lr], terseness) if lr in row else NOT_RUN for lr in shown]
                lines.append(str(units).rjust(label) + "".join(m.rjust(size) for m in marks))
        lines.append("")
    lines += textwrap.wrap(f"across: learning rate; {KEYS[terseness]}; {NOT_RUN} not run", width)
    return "\n".join([*lines, *_causes(results, width)])


def _size(
    blocks: Iterable[dict[int, dict[float, CellResult]]], every: Sequence[float], terseness: int
) -> int:
    """Letters of a column, the space before it among them."""
    marks = [mark(r, terseness) for rows in blocks for row in rows.values() for r in row.values()]
    return 1 + max(len(text) for text in [*marks, *(f"{lr:.3g}" for lr in every)])


def _causes(results: Iterable[CellResult], width: int) -> list[str]:
    """A line for each cause, the commonest first."""
    counts = Counter(r.cause or "no cause found" for r in results if r.outcome != "learns")
    if not counts:
        return []
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{cause}: {n} cell{'s' * (n > 1)}" for cause, n in ordered]
    return ["", "causes", *(line for text in told for line in textwrap.wrap(text, width))]
