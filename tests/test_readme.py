"""The README is run, so that it stays true."""

import re

import pytest

import torchmlp
from tests import ROOT
from tests.test_floors import ORDER

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
    links += re.findall(r"\b((?:tests|benchmarks)/[\w/]+(?:\.\w+)?)", README)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_public_name_can_be_imported() -> None:
    """`torchmlp.__all__` holds what the package hands out, and nothing else is promised."""
    assert {name for name in torchmlp.__all__ if not hasattr(torchmlp, name)} == set()
    assert set(torchmlp.__all__) <= set(dir(torchmlp))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = torchmlp.nonsense


def test_the_layout_is_the_packages() -> None:
    """Section Layout names every folder of modules once, the floors from the bottom to the top."""
    layout = README.partition("\n## Layout\n")[2].partition("torchmlp/configs")[0]
    named = re.findall(r"^ {4,6}torchmlp/([\w/]+)", layout, re.MULTILINE)
    package = ROOT / "torchmlp"
    there = {
        path.parent.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.parent != package
    }
    assert sorted(named) == sorted(there)
    assert [name for name in named if "/" not in name] == list(ORDER)


def test_contributing_names_the_floors() -> None:
    """In their order, as the test of the imports has them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    floors = text.partition("from the bottom to the top:")[2].partition(".\n")[0]
    assert re.findall(r"`(\w+)`", floors) == list(ORDER)
    assert [
        path for path in re.findall(r"`(torchmlp/[\w/.]+)`", text) if not (ROOT / path).exists()
    ] == []
