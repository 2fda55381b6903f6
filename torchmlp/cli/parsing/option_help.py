"""Every option of a command, in the width of the terminal."""

import shutil
import textwrap
from collections.abc import Iterable

from torchmlp.cli.parsing.defaults import DEFAULTS, TRAINER_DEFAULTS
from torchmlp.cli.parsing.options import OTHERS, SECTIONS, Option, options_of

MAX_WIDTH = 100
TITLES = {
    "": "All options",
    "model": "--model: the network, or a class: --model package.module.Class",
    "data": "--data: the images, or a class: --data package.module.Class",
    "stop": "--stop: when to stop before --max_epochs",
    "trainer": "--trainer: Lightning's Trainer",
}


def option_help(command: str) -> str:
    """The options, section by section, each with its default and what its docstring says."""
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH) - 1
    own = [option for option in options_of("trainer", command) or () if option.name == "ckpt_path"]
    blocks = [_block("", [*own, *(Option(name, "", text) for name, text in OTHERS.items())], width)]
    blocks += [_block(section, options_of(section) or (), width) for section in SECTIONS]
    return "\n\n".join(blocks) + "\n"


def _block(section: str, options: Iterable[Option], width: int) -> str:
    lines = textwrap.wrap(TITLES[section], width)
    for option in options:
        name = f"--{section}.{option.name}" if section else f"--{option.name}"
        default = _default(section, option)
        lines += textwrap.wrap(
            f"{name}{default}", width, initial_indent="  ", subsequent_indent="      ",
            break_on_hyphens=False,
        )  # fmt: skip
        lines += textwrap.wrap(
            option.text,
            width,
            initial_indent="      ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _default(section: str, option: Option) -> str:
    """Of the command line, where it is another than the class's own."""
    ours = (
        TRAINER_DEFAULTS if section == "trainer" else DEFAULTS.get(section, {}).get("init_args", {})
    )
    default = str(ours.get(option.name, option.default))
    return f" (default: {default})" if default else ""
