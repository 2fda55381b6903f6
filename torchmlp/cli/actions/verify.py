"""Verify backward passes written elsewhere: one in full, several in a table."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.cli.parsing.option_parser import OptionParser
from torchmlp.cli.terminal.errors import UsageError, reason
from torchmlp.cli.terminal.exit_codes import DONE, FAILED, USAGE
from torchmlp.cli.terminal.program import program
from torchmlp.foreign.process import SECONDS
from torchmlp.foreign.template import template
from torchmlp.gradcheck.external.gradients import OUTPUTS
from torchmlp.gradcheck.external.report import VerifyReport, to_text
from torchmlp.gradcheck.external.verify import VERIFIABLE, split_source
from torchmlp.gradcheck.external.verify import verify as verify_source
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import LOSSES


def verify(words: Sequence[str]) -> int:
    """Run `verify` with the words after it.

    Returns:
        0 where all gradients are right, 1 where some are wrong, 2 where a file was not judged.

    Raises:
        UsageError: a file, name, array or option that is not what it should be.
    """
    options = _options(words)
    sources = [one for source in options.sources for one in _expanded(source)]
    if not sources:
        raise UsageError(
            f"verify: expected FILE.py, FILE.py:NAME, FILE.ipynb or FILE.npz; see {program()} "
            f"verify --help"
        )
    if options.template:
        if len(sources) > 1:
            raise UsageError(f"verify: expected one file for --template, got {len(sources)}")
        _say(_template(sources[0]))
        return DONE
    if len(sources) == 1:
        report = _report(sources[0], options)
        if not options.quiet:
            _say(str(report))
        reports = [report]
    else:
        reports = _table(sources, options)
    if options.json is not None:
        try:
            write_atomically(Path(options.json), to_text(reports))
        except OSError as error:
            raise UsageError(f"verify: --json: {reason(error)}") from None
    return _exit_code(reports)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = OptionParser("verify")
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--json")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--template", action="store_true")
    parser.add_argument("--time_limit", type=float, default=SECONDS)
    parser.add_argument("--activation", choices=list(ACTIVATIONS))
    parser.add_argument("--output_activation", choices=OUTPUTS)
    parser.add_argument("--loss", choices=list(LOSSES))
    parser.add_argument("--hidden", nargs="*", type=int)
    parser.add_argument("--weight_decay", type=float, default=0.0)
    options, _ = parser.parse_words(list(words), beside_fit=False)
    if options.hidden is not None and any(width < 1 for width in options.hidden):
        raise UsageError(f"verify: expected --hidden widths of at least 1, got {options.hidden}")
    if not 0 < options.time_limit < float("inf"):
        raise UsageError(f"verify: expected --time_limit above 0, got {options.time_limit}")
    if options.weight_decay < 0:
        raise UsageError(
            f"verify: expected --weight_decay of at least 0, got {options.weight_decay}"
        )
    return options


def _expanded(source: str) -> list[str]:
    """The files of a folder; anything else as it is."""
    folder = Path(source)
    if not source or not folder.is_dir():
        return [source]
    found = sorted(str(path) for path in folder.iterdir() if path.suffix in VERIFIABLE)
    if not found:
        raise UsageError(f"verify: no {', '.join(VERIFIABLE)} in the folder {source}")
    return found


def _verified(source: str, options: argparse.Namespace) -> VerifyReport:
    return verify_source(
        source,
        activation=options.activation,
        output_activation=options.output_activation,
        loss=options.loss,
        hidden=options.hidden,
        weight_decay=options.weight_decay,
        seconds=options.time_limit,
    )


def _report(source: str, options: argparse.Namespace) -> VerifyReport:
    """The report of one file.

    Raises:
        UsageError: it cannot be judged; where there is a --json, that is written there too.
    """
    try:
        return _verified(source, options)
    except FileNotFoundError as error:
        raise UsageError(f"verify: no file at {error.filename or source}") from error
    except (ValueError, TypeError) as error:
        message = str(error).removeprefix("verify: ")
        if options.json is not None:
            not_judged = VerifyReport(source, "not judged", error=message)
            write_atomically(Path(options.json), to_text([not_judged]))
        raise UsageError(f"verify: {message}") from error


def _table(sources: Sequence[str], options: argparse.Namespace) -> list[VerifyReport]:
    """The reports of several files, each printed in a line as it comes."""
    reports = []
    width = min(max(map(len, sources)), 48)
    for source in sources:
        try:
            report = _verified(source, options)
        except FileNotFoundError:
            report = VerifyReport(source, "not judged", error=f"no file at {source}")
        except Exception as error:  # noqa: BLE001  one file never stops the rest
            report = VerifyReport(source, "not judged", error=str(error).removeprefix("verify: "))
        reports.append(report)
        if not options.quiet:
            _say(f"{source:{width}}  {report.verdict:10}  {_in_short(report)}".rstrip())
    if not options.quiet:
        counts = {verdict: sum(r.verdict == verdict for r in reports) for verdict in
                  ("right", "wrong", "not judged")}  # fmt: skip
        _say(f"{len(reports)} files: " + ", ".join(f"{n} {v}" for v, n in counts.items() if n))
    return reports


def _in_short(report: VerifyReport) -> str:
    """A report's first mistake, or what kept it from being judged."""
    if report.error:
        return report.error.splitlines()[0].removeprefix(f"{report.source}: ")
    if not report.mistakes:
        return report.notes[-1] if not report.ok and report.notes else report.network
    first = report.mistakes[0]
    where = "the whole network" if first.layer is None else f"layer {first.layer}"
    more = sum(not m.alternative for m in report.mistakes[1:])
    return f"{first.name}, {where}" + (f", and {more} more" if more else "")


def _template(source: str) -> str:
    path, name = split_source(source)
    if path.suffix == ".npz" or not path.is_file():
        raise UsageError(f"verify: expected a .py or .ipynb file for --template, got {source}")
    return template(path, name, program())


def _exit_code(reports: Sequence[VerifyReport]) -> int:
    verdicts = {report.verdict for report in reports}
    if "wrong" in verdicts:
        return FAILED
    return USAGE if "not judged" in verdicts else DONE


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the program's output
