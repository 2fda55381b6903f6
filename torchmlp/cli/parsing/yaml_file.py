"""Reading a configuration, whatever the file is."""

import stat
from pathlib import Path
from typing import Any

import yaml

from torchmlp.cli.terminal.errors import UsageError, reason, short

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000  # of the largest configuration that a run saves: a few hundred
MAX_DEPTH = 100


def read_configuration(path: str) -> Any:
    """What a YAML file holds, as the parser would read it; None where only the parser can.

    Raises:
        UsageError: it is no file, too large, no text or no YAML; or its aliases make it larger than
            any configuration, or let it hold itself.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"--config: expected a YAML file, {path} is no regular file")
        if status.st_size > MAX_BYTES:
            raise UsageError(
                f"--config: expected a YAML file, {path} has {status.st_size} bytes, more than "
                f"{MAX_BYTES}"
            )
        # With the parser's encoding and loader.
        text = Path(path).read_text()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _check_size(yaml.compose(text, loader), path)
        settings: Any = yaml.load(text, loader)  # noqa: S506  it is a safe one
    except UnicodeDecodeError as error:
        raise UsageError(f"--config: expected a YAML file, {path} is not text") from error
    except OSError as error:
        raise UsageError(f"--config: expected a YAML file, {reason(error)}") from error
    except (yaml.scanner.ScannerError, yaml.parser.ParserError, yaml.reader.ReaderError) as error:
        raise UsageError(short(f"--config: {path}: {error}")) from error
    except RecursionError as error:
        raise UsageError(f"--config: {path} is nested too deep") from error
    except (yaml.YAMLError, ValueError):
        return None  # the parser reads tags and dates otherwise
    return settings


def _check_size(root: Any, path: str) -> None:
    """Refuse what aliases have made larger than any configuration is."""
    left, count = [(root, 0)], 0
    while left:
        node, depth = left.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise UsageError(
                f"--config: expected a YAML file of at most {MAX_VALUES} values, {MAX_DEPTH} deep; "
                f"{path} has more, or one that holds itself"
            )
        if isinstance(node, yaml.MappingNode):
            left += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += [(part, depth + 1) for part in node.value]
