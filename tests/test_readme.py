"""The README is run, so that it stays true."""

import re

import pytest

import torchmlp
from tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", PYTHON, ids=[f"block{k}" for k in range(len(PYTHON))])
def test_python_block_runs(block: str) -> None:
    """Every Python block of the README runs as it stands."""
    exec(compile(block, "README.md", "exec"), {})


def test_start_has_two_shell_blocks() -> None:
    """Section Start has exactly two fenced blocks: set up and train, set up and test."""
    start = README.partition("\n## Start\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", start, re.DOTALL)
    assert len(blocks) == 2
    assert README.count("```sh") == 2
    assert "python train.py" in blocks[0]
    assert "python -m pytest" in blocks[1]


def test_paths_named_exist() -> None:
    """Every file that the README links to is there."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_public_name_can_be_imported() -> None:
    """`torchmlp.__all__` holds what the package hands out, and nothing else is promised."""
    assert {name for name in torchmlp.__all__ if not hasattr(torchmlp, name)} == set()
    assert set(torchmlp.__all__) <= set(dir(torchmlp))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = torchmlp.nonsense
