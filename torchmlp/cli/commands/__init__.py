"""The commands: a file and an entry of this table each."""

from torchmlp.cli.commands import diagnose, fit, predict, report, test, validate, verify, watch
from torchmlp.cli.commands import map as map_
from torchmlp.cli.commands.command import Command

COMMANDS: dict[str, Command] = {
    module.COMMAND.name: module.COMMAND
    for module in (fit, validate, test, predict, diagnose, report, map_, verify, watch)
}
