"""Looking a thing up by name."""

import pytest

from torchmlp.kernels.names import find

TABLE = {"relu": 1, "gelu": 2}


def test_found() -> None:
    """The entry of that name."""
    assert find("activation", "gelu", TABLE) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rleu", r"unknown activation 'rleu'; did you mean 'relu'\? expected one of: relu, gelu"),
        ("ReLU", r"unknown activation 'ReLU'; did you mean 'relu'\? expected one of: relu, gelu"),
        ("xyz", r"unknown activation 'xyz'; expected one of: relu, gelu"),
        ("", r"unknown activation ''; expected one of: relu, gelu"),
    ],
)
def test_unknown(name: str, text: str) -> None:
    """No such name: the nearest one, where one is near, and the whole list."""
    with pytest.raises(ValueError, match=text):
        find("activation", name, TABLE)
