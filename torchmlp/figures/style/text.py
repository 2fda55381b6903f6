"""Numbers and names as text, whatever they hold."""

import math
import re
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from typing import SupportsFloat
from unicodedata import east_asian_width

NONE = "–"
EXACT = 1e5  # a whole number below it is written in full
FIXED = range(-4, 5)  # the powers of ten that need no exponent
# What XML has no place for; surrogates, which no encoding has; and what turns the text around.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def short(value: SupportsFloat | None, digits: int = 3) -> str:
    """A number to so many significant digits; whole numbers below 100,000 in full.

    Example:
        >>> short(0.123456), short(1024.0), short(1.55e-12), short(float("-inf")), short(None)
        ('0.123', '1,024', '1.55e-12', '-inf', '–')
    """
    if value is None:
        return NONE
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number == int(number) and abs(number) < EXACT:
        return f"{int(number):,}"
    mantissa, _, power = f"{number:.{digits - 1}e}".partition("e")
    if int(power) in FIXED:
        return f"{float(f'{mantissa}e{power}'):,.10g}"
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(power)}"


def percent(share: float) -> str:
    """A share in percent; one between 0 and 1 is never rounded to either.

    Example:
        >>> percent(0.0), percent(0.002), percent(0.824), percent(0.9999)
        ('0 %', '< 1 %', '82 %', '> 99 %')
    """
    if not math.isfinite(share):
        return str(share)
    if 0 < share < 0.005:  # noqa: PLR2004  half a percent
        return "< 1 %"
    if 0.995 < share < 1:  # noqa: PLR2004
        return "> 99 %"
    return f"{100 * share:.0f} %"


def distinct(values: Sequence[float]) -> list[str]:
    """The numbers with as few digits as tell them apart."""
    for digits in range(1, 9):
        texts = [short(value, digits) for value in values]
        same = [float(text.replace(",", "")) for text in texts]
        if all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(same, values, strict=True)):
            break
    return texts if values else []


def printable(text: str) -> str:
    """The text, with what cannot be printed replaced."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def html(text: str) -> str:
    """The text for HTML, in an element or an attribute."""
    return escape(printable(text))


def clipped(text: str, length: int) -> str:
    """One line of at most so many letters; the end tells layers apart, so the start goes.

    A letter as wide as it is high, of Chinese, say, counts as two.

    Example:
        >>> clipped("encoder.blocks.11.fc1", 12)
        '…locks.11.fc1'
    """
    line = " ".join(printable(text).split())
    ends = accumulate(2 if east_asian_width(sign) in "WFA" else 1 for sign in reversed(line))
    kept = sum(end <= length for end in ends)
    return line if kept == len(line) else "…" + line[len(line) - kept :]


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    Example:
        >>> listed(["1", "2", "5"])
        '1, 2 and 5'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def numbered(numbers: Sequence[int]) -> str:
    """Whole numbers, neighbours drawn together.

    Example:
        >>> numbered([1, 2, 3, 5, 7, 8])
        '1 to 3, 5, 7 and 8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    said: list[str] = []
    for run in runs:
        pair = 2
        said += [str(n) for n in run] if len(run) <= pair else [f"{run[0]} to {run[-1]}"]
    return listed(said)
