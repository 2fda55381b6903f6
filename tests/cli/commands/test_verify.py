"""`train.py verify`: people's own backward passes, right and wrong, in functions and files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from tests.cli.command_line import run

README = (ROOT / "README.md").read_text(encoding="utf-8")
NETWORK = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def gradients(x, target, weights, biases):
    (W1, W2), (b1, b2) = weights, biases
    a1 = sigmoid(x @ W1 + b1)
    z2 = a1 @ W2 + b2
    p = np.exp(z2) / np.exp(z2).sum(axis=1, keepdims=True)
    loss = -np.log((p * target).sum(axis=1)).mean()
    delta2 = p - target
    delta1 = delta2 @ W2.T * a1 * (1 - a1)
    n = len(x)
    return loss, [x.T @ delta1 / n, a1.T @ delta2 / n], [delta1.sum(0) / n, delta2.sum(0) / n]
"""


def verify(folder: Path, source: str, *words: object) -> tuple[int, str, str]:
    """Runs verify on a file with this source."""
    (folder / "net.py").write_text(source, encoding="utf-8")
    code, out, err = run(folder, "verify", "net.py:gradients", *words)
    return code, out, err


def changed(old: str, new: str) -> str:
    """The network with a line of its own changed."""
    assert NETWORK.count(old) == 1
    return NETWORK.replace(old, new)


def test_the_readmes_network(tmp_path: Path) -> None:
    """What the README shows of its numpy network is what verify prints."""
    (source,) = [
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def grad" in b
    ]
    code, out, err = verify(tmp_path, source)
    assert (code, err) == (1, "")
    shown = README.partition("$ python train.py verify net.py:gradients\n")[2]
    lines = [line.rstrip() for line in out.splitlines()]
    assert [line.removeprefix("    ") for line in shown.splitlines()[: len(lines)]] == lines


def test_the_readmes_class() -> None:
    """What the README shows of a class that updates in place is what verify prints."""
    code, out, err = run(ROOT, "verify", "benchmarks/styles/two_mistakes.py")
    assert (code, err) == (1, "")
    shown = README.partition("$ python train.py verify benchmarks/styles/two_mistakes.py\n")[2]
    lines = [line.rstrip() for line in out.splitlines()]
    for said, line in zip(shown.splitlines(), lines, strict=False):
        if "left unexplained" not in line:  # roundings, and torch's version may have others
            assert said.removeprefix("    ") == line
    assert len(lines) > 15


def test_right(tmp_path: Path) -> None:
    """A right network, its weights (fan_in, fan_out), is recognised by its loss and passes."""
    code, out, err = verify(tmp_path, NETWORK)
    assert (code, err) == (0, "")
    first, called, *probes, last = out.splitlines()
    assert first == ("net.py:gradients: sigmoid hidden layers, identity output, loss cross_entropy")
    assert called == (
        "  called: gradients; weights (fan_in, fan_out), biases (n,); samples as rows, "
        "targets one-hot"
    )
    assert [line.split(":")[0].strip() for line in probes] == [
        "7 samples, 5-8-3", "8 samples, 8-8-8", "1 sample, 5-8-3",
    ]  # fmt: skip
    assert last == "net.py:gradients is right: every gradient, to rounding"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (" * a1 * (1 - a1)", "", "missing-activation-derivative, layer 1 (W1, b1)"),
        ("delta1.sum(0) / n", "delta1.sum(0)", "bias-not-averaged, layer 1 (b1)"),
        ("a1.T @ delta2 / n", "(a1.T @ delta2).T / n", "transposed-weight-gradient, layer 2 (W2)"),
        ("delta2 @ W2.T", "delta2.mean(0) @ W2.T", "cross-sample, layer 1 (W1, b1)"),
        ("    n = len(x)", "    n = 1", "not-averaged, the whole network (W1, b1, W2, b2)"),
        ("p - target\n", "target - p\n", "sign, the whole network (W1, b1, W2, b2)"),
    ],
    ids=["slope", "bias", "transpose", "samples", "average", "sign"],
)
def test_wrong(old: str, new: str, said: str, tmp_path: Path) -> None:
    """A wrong line is named, with its layer, and the exit code is 1."""
    code, out, err = verify(tmp_path, changed(old, new))
    assert (code, err) == (1, "")
    assert f"\n\n{said}\n" in out
    assert "WRONG" in out
    assert "  correct: " in out


def test_the_origins_mistake(tmp_path: Path) -> None:
    """Squared error reported, cross-entropy descended: said exactly so."""
    loss = "0.5 * ((p - target) ** 2).sum(axis=1).mean()"
    code, out, _ = verify(tmp_path, changed("-np.log((p * target).sum(axis=1)).mean()", loss))
    assert code == 1
    assert "softmax output, loss mse" in out
    assert "\n\nother-loss, layer 2" in out
    said = "it reports squared error of the softmax and descends cross-entropy"
    assert said in " ".join(out.split())


def test_scaled_losses_are_right(tmp_path: Path) -> None:
    """A loss summed over the batch, with gradients to match, is right as it stands."""
    source = changed(".mean()\n", ".sum()\n").replace("    n = len(x)", "    n = 1")
    code, out, _ = verify(tmp_path, source)
    assert code == 0
    assert "loss cross_entropy, 7 times" in out


def test_changed_arguments_and_second_calls(tmp_path: Path) -> None:
    """A function that updates what it is given, or adds to its last answer, is told so."""
    code, out, _ = verify(tmp_path, changed("    n = len(x)", "    n = len(x); W2 -= 0.1"))
    assert code == 1
    assert "it changed weights[1] in place" in out
    source = changed("def grad", "kept = []\ndef grad").replace(
        "    n = len(x)", "    kept.append(1); n = len(x) / len(kept)"
    )
    code, out, _ = verify(tmp_path, source)
    assert code == 1
    assert "the second call with the same arguments gave 2 times the first" in " ".join(out.split())


def save(path: Path, **changes: object) -> None:
    """Writes the arrays of a right network, with changes; None leaves an array out."""
    names: dict[str, object] = {}
    exec(NETWORK, names)
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(8, 4)), np.eye(3)[rng.integers(3, size=8)]
    weights, biases = [rng.normal(size=s) for s in ((4, 5), (5, 3))], [np.zeros(5), np.zeros(3)]
    function = names["gradients"]
    assert callable(function)
    loss, dw, db = function(x, target, weights, biases)
    arrays = {"x": x, "target": target, "loss": loss}
    for k in range(2):
        arrays |= {f"W{k + 1}": weights[k], f"b{k + 1}": biases[k], f"dW{k + 1}": dw[k]}
        arrays[f"db{k + 1}"] = db[k]
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_files(tmp_path: Path) -> None:
    """An .npz of arrays, with its loss or with flags in its place, right and wrong."""
    save(tmp_path / "g.npz")
    code, out, _ = run(tmp_path, "verify", "g.npz")
    assert code == 0
    assert out.startswith("g.npz: sigmoid hidden layers, identity output, loss cross_entropy\n")
    assert "  8 samples, 4-5-3: dW1 right, db1 right, dW2 right, db2 right\n" in out
    save(tmp_path / "h.npz", loss=None, db2=np.full(3, 0.5))
    code, out, err = run(tmp_path, "verify", "h.npz")
    assert (code, out) == (2, "")
    assert err.startswith("error: verify: expected --activation and --loss, or the loss itself")
    flags = ("--activation", "sigmoid", "--loss", "cross_entropy")
    code, out, _ = run(tmp_path, "verify", "h.npz", *flags)
    assert code == 1
    assert "\n\nunknown, layer 2 (b2)\n" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dW1": None}, r"no dW1 in it, but x, target, .*; expected x, target, W1, b1"),
        ({"dW1": np.zeros((4, 6))}, r"dW1 has shape \(4, 6\), W1 has shape \(4, 5\)"),
        (
            {"W2": np.zeros((6, 3))},
            r"do not follow each other: x \(8, 4\), W1 \(4, 5\), W2 \(6, 3\)",
        ),
        ({"b1": np.zeros(4)}, r"b1 has shape \(4,\), and W1 of shape \(4, 5\) expects \(5,\)"),
        (
            {"dW1": np.zeros((4, 5), int)},
            r"of shape \(4, 5\) for dW1, got torch\.int64 of shape",
        ),
        (
            {"dW1": np.full((4, 5), np.nan)},
            r"dW1, shape \(4, 5\), .* 20 of 20 elements are nan",
        ),
        ({"loss": np.array(17.0)}, r"the loss reported, 17, is that of no network known here"),
    ],
    ids=["missing", "shape", "chain", "bias", "integers", "nan", "loss"],
)
def test_files_mistakes(change: dict[str, object], said: str, tmp_path: Path) -> None:
    """A file that cannot be read as a network is refused in one line."""
    save(tmp_path / "g.npz", **change)
    code, out, err = run(tmp_path, "verify", "g.npz")
    assert (code, out) == (2, "")
    assert re.search(said, err), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected FILE.py, FILE.py:NAME, FILE.ipynb or FILE.npz; see"),
        (("net.txt",), "expected FILE.py, FILE.py:NAME, FILE.ipynb or FILE.npz, got 'net.txt'"),
        (
            ("net.py:nothing",),
            "net.py has no function or class 'nothing'; it has sigmoid, gradients",
        ),
        (
            ("net.py:sigmoid",),
            "sigmoid(z)\n    288 ways tried; the furthest: nothing is known for its parameter z",
        ),
        (("--template", "none.py"), "expected a .py or .ipynb file for --template, got none.py"),
        (("--template", "net.py", "net.py"), "expected one file for --template, got 2"),
        (("net.py", "--time_limit", "0"), "expected --time_limit above 0, got 0.0"),
        (("net.py", "--weight_decay", "-1"), "expected --weight_decay of at least 0, got -1.0"),
        (("none.py:f",), "no file at none.py"),
        (("none.npz",), "no file at none.npz"),
        (("net.py:gradients", "--hiden", "3"), "unknown option --hiden; did you mean --hidden?"),
        (("net.py:gradients", "--hidden", "0"), "--hidden widths of at least 1, got [0]"),
        (("net.py:gradients", "--hidden", "3", "4"), "too many values to unpack"),
        (("net.py:gradients", "--activation", "sigmod"), "invalid choice: 'sigmod'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A wrong command line is answered in a few lines, exit code 2."""
    (tmp_path / "net.py").write_text(NETWORK, encoding="utf-8")
    code, out, err = run(tmp_path, "verify", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: verify: ")
    assert len(err.splitlines()) <= 12
    assert "Traceback" not in err


def test_no_npz(tmp_path: Path) -> None:
    """A file of another kind is refused."""
    (tmp_path / "g.npz").write_text("no zip", encoding="utf-8")
    code, _, err = run(tmp_path, "verify", "g.npz")
    assert code == 2
    assert "expected an .npz file with the arrays x, target, W1" in err


def test_broken_file(tmp_path: Path) -> None:
    """A file that Python cannot read is said so, with the line."""
    code, _, err = verify(tmp_path, "def gradients(x:\n    return\n")
    assert code == 2
    assert err.startswith("error: verify: net.py:gradients: net.py, line 1: ")


def test_the_users_line(tmp_path: Path) -> None:
    """What the code raises is said with its signature and its own line, never one of ours."""
    code, _, err = verify(tmp_path, changed("    n = len(x)", "    n = undefined"))
    assert code == 2
    assert "gradients(x, target, weights, biases)" in err
    assert "NameError: name 'undefined' is not defined" in err
    assert "at net.py, line 15: n = undefined" in err
    assert "torchmlp/" not in err


def test_json_and_quiet(tmp_path: Path) -> None:
    """--json writes the verdict, also where there is none; --quiet prints nothing."""
    code, out, err = verify(tmp_path, NETWORK, "--quiet", "--json", "out.json")
    assert (code, out, err) == (0, "", "")
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (data["verdict"], data["mistakes"]) == ("right", [])
    code, _, err = verify(tmp_path, "x = 3\n", "--json", "out.json")
    assert code == 2
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert data["verdict"] == "not judged"
    assert "has no function or class 'gradients'" in data["error"]


def test_many_files(tmp_path: Path) -> None:
    """A folder of submissions is a table and a list in JSON; a bad one does not stop the rest."""
    folder = tmp_path / "handed_in"
    folder.mkdir()
    (folder / "a.py").write_text(NETWORK, encoding="utf-8")
    (folder / "b.py").write_text(changed(" * a1 * (1 - a1)", ""), encoding="utf-8")
    (folder / "c.py").write_text("this is no Python\n", encoding="utf-8")
    (folder / "d.py").write_text(changed("    n = len(x)", "    import os; os._exit(0)"))
    code, out, err = run(tmp_path, "verify", "handed_in", "--json", "out.json")
    assert (code, err) == (1, "")
    lines = [line.split(maxsplit=1)[1] for line in out.splitlines()]
    assert lines[0].startswith("right       sigmoid hidden layers")
    assert lines[1].startswith("wrong       missing-activation-derivative, layer 1")
    assert lines[2].startswith("not judged  ")
    assert lines[3].startswith("not judged  its code ended the process")
    assert lines[4] == "files: 1 right, 1 wrong, 2 not judged"
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [one["verdict"] for one in data] == ["right", "wrong", "not judged", "not judged"]


def test_the_template_is_an_adapter(tmp_path: Path) -> None:
    """--template prints a file that, its one call filled in, is verified."""
    (tmp_path / "odd.py").write_text(
        changed(
            "def gradients(x, target, weights, biases):\n",
            "def odd(q1, q2, q3, q4):\n    weights, biases, x, target = q1, q2, q3, q4\n",
        ),
        encoding="utf-8",
    )
    code, out, _ = run(tmp_path, "verify", "--template", "odd.py")
    assert code == 0
    assert "    #   odd(q1, q2, q3, q4)\n" in out
    filled = re.sub(
        r"    result = .*\n    loss, .* = result\n    return .*",
        "    return odd.odd(weights, biases, x, target)",
        out,
    )
    assert filled != out
    (tmp_path / "adapter.py").write_text(filled, encoding="utf-8")
    code, out, err = run(tmp_path, "verify", "adapter.py:gradients")
    assert (code, err) == (0, "")


def test_help(tmp_path: Path) -> None:
    """--help says how the function is called."""
    code, out, _ = run(tmp_path, "verify", "--help")
    assert code == 0
    assert "FILE.ipynb[:NAME]" in out
    assert max(map(len, out.splitlines())) <= 90
