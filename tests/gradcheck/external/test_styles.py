"""Hand-written networks are verified as they stand, in every style of the collection."""

import tomllib
from contextlib import suppress
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from tests import ROOT
from torchmlp import verify
from torchmlp.gradcheck.external.verify import NotCallableError

COLLECTION = ROOT / "benchmarks" / "styles"
TABLE: dict[str, Any] = tomllib.loads((COLLECTION / "mistakes.toml").read_text(encoding="utf-8"))
FILES: dict[str, dict[str, Any]] = TABLE["files"]
# One file for each style, and a mistake for each.
CHOSEN = {
    "columns_two_layer.py": "db1-axis",
    "rows_dict_loss_grads.py": "no-mean",
    "separate_softplus.py": "slope-at-h",
    "weight_lists.py": "db-scalar",
    "flat_vector_labels.py": "bias-column-decayed",
    "class_loss_reg.py": "reg-without-2",
    "nabla_quadratic.py": "weights-index",
    "inplace_from_data.py": "weights2-first",
    "inplace_fit_regressor.py": "slope-of-sigmoid",
    "layers_columns.py": "weights-first",
    "layers_dvalues.py": "dbiases-axis",
    "float_lists.py": None,
    "neuron_objects.py": "uphill",
    "own_module/network.py": None,
    "moons_notebook.ipynb": None,
    "loadtxt_script.py": None,
}
# A bias that is the weight of a constant input, appended within: it cannot be told from an input.
NOT_CALLED = ("held_out/float_class.py",)


def in_a_folder(name: str, folder: Path) -> Path:
    """The file with the modules beside it, in a folder of its own."""
    source = COLLECTION / name
    return Path(copytree(source.parent, folder / "files")) / source.name


@pytest.mark.parametrize("name", CHOSEN)
def test_right_as_it_stands(name: str, tmp_path: Path) -> None:
    """A right network of each style is called right, with no adapter."""
    report = verify(in_a_folder(f"development/{name}", tmp_path))
    assert report.ok, str(report)
    assert report.lines
    assert all(all(line.right.values()) for line in report.lines)


@pytest.mark.parametrize("name", [name for name, mistake in CHOSEN.items() if mistake])
def test_mistakes_are_named(name: str, tmp_path: Path) -> None:
    """A mistake planted in it is named, with the line that holds it or that it shows in."""
    (planted,) = (
        m for m in TABLE["mistake"]
        if m["file"] == f"development/{name}" and m["name"] == CHOSEN[name]
    )  # fmt: skip
    path = in_a_folder(f"development/{name}", tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(planted["old"], planted["new"]), encoding="utf-8")
    report = verify(path)
    assert report.verdict == "wrong"
    assert {m.name for m in report.mistakes} & set(planted["expected"]), str(report)
    assert len(report.places) == len(report.mistakes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in FILES if n.removeprefix("development/") not in CHOSEN])
def test_all_right_files(name: str, tmp_path: Path) -> None:
    """So are all other files of the collection; of several networks in one, the one named."""
    path = in_a_folder(name, tmp_path)
    if name in NOT_CALLED:
        with pytest.raises(NotCallableError, match="An adapter of a few lines takes it"):
            verify(path)
        return
    with suppress(NotCallableError):  # several networks in one
        assert verify(path).ok
        return
    assert verify(f"{path}:{FILES[name]['entry']}").ok


def test_the_line_is_named() -> None:
    """Two mistakes in one loop that updates in place: both are named, each with its own line."""
    report = verify(COLLECTION / "two_mistakes.py")
    assert [m.name for m in report.mistakes] == [
        "weight-already-updated", "missing-activation-derivative",
    ]  # fmt: skip
    assert "line 22: self.weights[l] -=" in report.places[0]
    assert "line 24: delta = delta @" in report.places[1]
    assert any("read from one update" in note for note in report.notes)


def test_functions_in_memory() -> None:
    """A function that is here is verified without a file; the report shows itself in a notebook."""

    def gradients(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        a = np.tanh(x @ w1 + b1)
        delta = (a @ w2 + b2 - y) / len(x)
        loss = 0.5 * ((a @ w2 + b2 - y) ** 2).sum() / len(x)
        hidden = delta @ w2.T * (1 - a)
        return loss, x.T @ hidden, hidden.sum(0), a.T @ delta, delta.sum(0)

    np.random.seed(7)  # noqa: NPY002  the caller's own numbers
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    report = verify(gradients)
    assert np.random.random() == expected  # noqa: NPY002
    assert [m.name for m in report.mistakes] == ["missing-activation-derivative"]
    assert "1 − a_1 in place of 1 − a_1²" in report.mistakes[0].explanation
    assert "missing-activation-derivative" in report._repr_html_()
    data = report.to_json()
    assert data["schema"] == "torchmlp.verify/1"
    assert data["verdict"] == "wrong"
    assert data["mistakes"][0]["layer"] == 1
    assert "hidden = delta @ w2.T" in data["mistakes"][0]["place"]
    with pytest.raises(TypeError, match="expected a path, a function or a class, got int"):
        verify(3)


@pytest.mark.parametrize(
    ("factor", "is_right"), [("1", True), ("2", True), ("len(x)", True), ("-1", False)]
)
def test_without_a_loss(factor: str, is_right: bool, tmp_path: Path) -> None:
    """Where no loss is reported, a positive factor is no mistake, and is said; a sign is one."""
    source = f"""
import numpy as np
def gradients(x, y, w1, b1, w2, b2):
    a = 1 / (1 + np.exp(-(x @ w1 + b1)))
    delta = {factor} * (a @ w2 + b2 - y) / len(x)
    hidden = delta @ w2.T * a * (1 - a)
    return x.T @ hidden, hidden.sum(0), a.T @ delta, delta.sum(0)
"""
    (tmp_path / "net.py").write_text(source, encoding="utf-8")
    report = verify(tmp_path / "net.py")
    assert report.ok == is_right, str(report)
    assert any("no loss is reported" in note for note in report.notes)
    if factor == "2":
        assert any("2 times the gradient" in note for note in report.notes)
    if not is_right:
        assert report.mistakes[0].name == "sign"


DECAYED = """
import numpy as np
R = 0.1
def core(x, t, w, b, also):
    (W1, W2), (b1, b2) = w, b
    a = np.tanh(x @ W1.T + b1)
    o, n = a @ W2.T + b2, len(x)
    loss = 0.5 * ((o - t) ** 2).sum() / n + 0.5 * R * sum((v ** 2).sum() for v in w)
    d2 = (o - t) / n
    d1 = d2 @ W2 * (1 - a * a)
    gw = [d1.T @ x + R * W1, d2.T @ a + R * W2]
    gb = [d1.sum(0) + also * b1, d2.sum(0) + also * b2]
    return loss, gw, gb
def right(x, t, w, b):
    return core(x, t, w, b, 0)
def wrong(x, t, w, b):
    return core(x, t, w, b, R)
"""


def test_decay_that_the_loss_holds(tmp_path: Path) -> None:
    """A decay is found in the loss; one of the biases that it does not hold is named."""
    path = tmp_path / "decayed.py"
    path.write_text(DECAYED, encoding="utf-8")
    with pytest.raises(ValueError, match=r"several networks(.|\n)*:right(.|\n)*:wrong"):
        verify(path)
    right = verify(f"{path}:right")
    assert right.ok
    assert "½·0.1·‖W‖²" in right.network
    (mistake,) = verify(f"{path}:wrong").mistakes
    assert mistake.name == "bias-decayed"


def test_a_loss_of_its_own(tmp_path: Path) -> None:
    """A loss that is none known here is judged by differences of itself, tensor by tensor."""
    source = """
import numpy as np
def gradients(x, y, W1, b1, W2, b2):
    a = np.sin(x @ W1 + b1)
    o = a @ W2 + b2
    delta = np.tanh(o - y) / len(x)
    hidden = delta @ W2.T * SLOPE
    loss = np.log(np.cosh(o - y)).sum() / len(x)
    return loss, x.T @ hidden, hidden.sum(0), a.T @ delta, delta.sum(0)
"""
    path = tmp_path / "net.py"
    path.write_text(source.replace("SLOPE", "np.cos(x @ W1 + b1)"), encoding="utf-8")
    report = verify(path)
    assert report.ok
    assert "differences of its own loss" in report.network
    path.write_text(source.replace("SLOPE", "np.cos(a)"), encoding="utf-8")
    report = verify(path)
    assert report.verdict == "wrong"
    assert report.lines[0].right == {"W1": False, "b1": False, "W2": True, "b2": True}


def test_a_step_that_keeps_its_gradients(tmp_path: Path) -> None:
    """A class that keeps its gradients and steps with them too is right; a function that changes
    its arguments beside is told so.
    """
    source = """
import numpy as np
class Net:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)
    def train_step(self, x, y):
        error = x @ self.W + self.b - y
        self.dW, self.db = x.T @ error / len(x), error.mean(0)
        self.W -= 0.1 * self.dW
        self.b -= 0.1 * self.db
        return 0.5 * (error ** 2).sum() / len(x)
"""
    path = tmp_path / "net.py"
    path.write_text(source, encoding="utf-8")
    assert verify(path, hidden=[]).ok
    path.write_text(
        """
import numpy as np
def gradients(x, y, W1, b1):
    error = x @ W1 + b1 - y
    dW1, db1 = x.T @ error / len(x), error.mean(0)
    W1 -= 0.1 * dW1
    return 0.5 * (error ** 2).sum() / len(x), dW1, db1
""",
        encoding="utf-8",
    )
    (mistake,) = verify(path).mistakes
    assert mistake.name == "weight-already-updated"
    assert "it changed W1 in place" in mistake.explanation


def test_gradients_that_add_up(tmp_path: Path) -> None:
    """A class whose second call adds to the first one's gradients is told so."""
    source = """
import numpy as np
class Net:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)
        self.dW, self.db = np.zeros((n_in, n_out)), np.zeros(n_out)
    def forward(self, x):
        self.x, self.o = x, x @ self.W + self.b
        return self.o
    def loss(self, x, y):
        return 0.5 * ((self.forward(x) - y) ** 2).sum() / len(x)
    def backward(self, y):
        delta = (self.o - y) / len(y)
        self.dW += self.x.T @ delta
        self.db += delta.sum(0)
"""
    (tmp_path / "net.py").write_text(source, encoding="utf-8")
    (mistake,) = verify(tmp_path / "net.py", hidden=[]).mistakes
    assert mistake.name == "accumulated"
    assert "gave 2 times the first" in mistake.explanation
