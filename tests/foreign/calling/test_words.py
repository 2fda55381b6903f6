"""Names of parameters say what they are."""

import pytest

from torchmlp.foreign.calling import words


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(("X", "x"), ("x_train", "x"), ("a0", "x"), ("inputs_list", "x")),
        *(("Y", "y"), ("y_true", "y"), ("targets", "y"), ("one_hot", "y"), ("expected", "y")),
        *(("A2", "output"), ("y_hat", "output"), ("AL", "output"), ("probs", "output")),
        *(("W1", "weight"), ("theta2", "weight"), ("w_hidden", "weight"), ("b_2", "bias")),
        *(("weights", "weights"), ("biases", "biases"), ("parameters", "params")),
        *(("learning_rate", "lr"), ("eta", "lr"), ("lambd", "reg"), ("num_iterations", "epochs")),
        *(("input_layer_size", "inputs"), ("num_labels", "outputs"), ("mini_batch", "pairs")),
        ("cache", "cache"),
        ("dA", "grad"),
        ("zebra", None),
    ],
)
def test_roles(name: str, role: str | None) -> None:
    """A name of a course, a post or a textbook is understood; another is not guessed at."""
    assert words.role(name) == role


def test_sizes_of_constructors() -> None:
    """What is data in a function is a size in a constructor."""
    assert words.size_role("input") == "inputs"
    assert words.size_role("layers") == "sizes"
    assert words.size_role("n_hidden") == "hidden"
