"""Each is taken out of a message that the installed jsonargparse gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import pytest
from torch import optim

from torchmlp._compat import jsonargparse_messages as messages


class Settings:
    """What the parser is made of."""

    def __init__(
        self,
        count: int = 1,
        mode: Literal["fast", "slow"] = "fast",
        rate: float | None = None,
    ) -> None:
        pass


class _SaidError(Exception):
    pass


class _Parser(jsonargparse.ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise _SaidError(message) from ex


def said(words: Sequence[str]) -> str:
    """What the parser says of a line."""
    parser = _Parser(exit_on_error=True, allow_abbrev=False)
    parser.add_class_arguments(Settings, "own")
    parser.add_subclass_arguments(optim.Optimizer, "optimizer", skip={"params"}, required=False)
    parser.add_argument("--config", action="config")
    with pytest.raises(_SaidError) as caught:
        parser.parse_args(list(words))
    return str(caught.value)


def test_an_unknown_option() -> None:
    """On the line and in a class's settings."""
    assert messages.unknown_option_in(said(["--own.cuont", "3"])) == "--own.cuont"
    assert messages.unknown_option_in(said(["--optimizer", "SGD", "--optimizer.x", "3"])) == "x"
    assert messages.unknown_option_in("anything else") is None


def test_a_key_in_a_configuration(tmp_path: Path) -> None:
    """Named as it stands there."""
    (tmp_path / "a.yaml").write_text("own:\n  cuont: 3\n")
    found = messages.unknown_option_in(said(["--config", str(tmp_path / "a.yaml")]))
    assert found is not None
    assert found.endswith("cuont")


def test_a_value_of_another_type() -> None:
    """The setting, the value and the type that was expected."""
    text = said(["--own.count", "many"])
    assert (messages.key_in(text), messages.value_in(text)) == ("own.count", "many")
    assert messages.kinds_in(text) == ["int"]


def test_a_choice() -> None:
    """The values there are."""
    text = said(["--own.mode", "quick"])
    assert messages.key_in(text) == "own.mode"
    assert messages.choices_in(text) == ["fast", "slow"]


def test_a_class() -> None:
    """A name that is no class's, plain or in a configuration's form."""
    text = said(["--optimizer", "Addam"])
    assert messages.wants_a_class(text)
    assert messages.key_in(text) == "optimizer"
    assert messages.class_path_in(messages.value_in(text)) == "Addam"
    assert messages.class_path_in("{'class_path': 'a.B', 'init_args': {}}") == "a.B"
    assert messages.class_path_in("a.B") == "a.B"


def test_alternatives() -> None:
    """Of an optional setting's objections the one that is not about None; of others none."""
    assert messages.objections_in(said(["--own.count", "many"])) == []
    found = messages.objections_in(said(["--own.rate", "quick"]))
    assert all("None" not in objection for objection in found)
