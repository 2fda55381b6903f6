"""What users see is what they saw."""

from pathlib import Path

import pytest

from tests.cli.command_line import run
from tests.surface.seen import FILES, everything

NAMES = tuple(everything(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_it_was(tmp_path: Path, name: str) -> None:
    """Names, signatures, helps and diagnoses; `python -m tests.surface` accepts a change."""
    assert everything(tmp_path)[name]() == (FILES / name).read_text(encoding="utf-8")


def test_no_file_is_left_over() -> None:
    """Each file is compared with something."""
    kinds = (".txt", ".json")
    there = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.suffix in kinds}
    assert there == set(NAMES)


RIGHT = """
import numpy as np
def f(x, target, weights, biases):
    z = x @ weights[0].T + biases[0]
    delta = z - target
    return 0.5 * (delta ** 2).sum(1).mean(), [delta.T @ x / len(x)], [delta.mean(0)]
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("fot", 2),
        ("fit --modell.hidden 3", 2),
        ("fit --lr fast", 2),
        ("test", 2),
        ("test --ckpt_path best", 2),
        ("verify right.py:f --hidden", 0),
        ("verify wrong.py:f --hidden", 1),
        ("verify none.py:f", 2),
        ("report none", 2),
        ("map --steps 0", 2),
        ("diagnose --steps 0", 2),
        ("fit --data.source embedded --hidden 8 --max_epochs 1 --lr 1e30 --health false", 3),
        ("fit --data.source embedded --hidden 8 --trainer.fast_dev_run true", 0),
    ],
)
def test_exit_codes(tmp_path: Path, words: str, code: int) -> None:
    """0 done, 1 failed or wrong, 2 usage, 3 numerically sick."""
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(RIGHT.replace("/ len(x)", "", 1))
    assert run(tmp_path, *words.split()).code == code
