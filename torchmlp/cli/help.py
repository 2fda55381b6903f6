"""What `torchmlp --help` prints: one screen, made from the table of commands."""

from collections.abc import Iterable

from torchmlp.cli.commands.command import Command
from torchmlp.cli.parsing.arguments import SHORT_FLAGS
from torchmlp.cli.terminal.program import program

EXAMPLES = (
    ("", "train on MNIST, test the best"),
    ("--accelerator gpu --precision bf16-mixed", ""),
    ("fit --config mnist", "the best recipe; several add up"),
    ("test --ckpt_path best", "test the newest run's best"),
    ("fit --print_config", "every setting, as YAML"),
)
WIDTH = 41  # of an example
VALUES = {
    "--accelerator": "cpu|gpu|auto",
    "--devices": "N",
    "--precision": "16-mixed|...",
    "--max_epochs": "N",
    "--batch_size": "N",
    "--lr": "RATE",
    "--hidden": "512 256",
    "--activation": "NAME",
    "--init": "NAME",
    "--seed": "N",
    "--data_root": "FOLDER",
}


def overview(commands: Iterable[Command]) -> str:
    """Examples, the commands, the short flags and the exit codes; at most 79 columns."""
    lines = ["torchmlp: a multilayer perceptron with hand-written gradients", ""]
    for words, what in EXAMPLES:
        lines.append(
            f"  {program()} {words}"
            if not what
            else f"  {program()} {words:<{WIDTH - len(program())}} {what}"
        )
    lines += ["", f"Commands, each with a help of its own ({program()} map --help):"]
    lines += [f"  {command.name:<10} {command.summary}" for command in commands]
    lines += ["", "Short flags, and what they stand for:"]
    lines += [
        f"  {short} {VALUES[short]:<{27 - len(short)}} {SHORT_FLAGS[short]}" for short in VALUES
    ]
    lines += [
        "",
        f"Every other setting: {program()} fit --help",
        "Exit codes: 0 done, 1 failed, 2 usage, 3 numerically sick, 130 Ctrl-C,",
        "143 SIGTERM",
    ]
    return "\n".join(lines) + "\n"
