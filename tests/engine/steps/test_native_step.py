import ctypes
import os
import shutil
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.children import child
from tests.engine.twins import Twins, batches, needs_compiler, network, sgd
from torchmlp.engine.population.native_step import Population
from torchmlp.engine.state.sgd_update import SGDUpdate
from torchmlp.engine.steps import build as library
from torchmlp.engine.steps import native_step as native
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import LOSSES
from torchmlp.kernels.optimizers import Elementwise

SCRIPT = """
import torch
from torchmlp import MLP, Engine
from torchmlp.engine.steps import build as library

torch.manual_seed(0)
model = MLP(6, [8], 3)
engine = Engine(model, "cross_entropy", torch.optim.SGD(model.parameters(), lr=0.1), native=True)
loss = engine.step(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
print(float(loss), library._built(library._place()))
"""


def trained(native_step: bool | None = True) -> Twins:
    """Twins after ten steps, compared."""
    twins = Twins(network(), "cross_entropy", sgd(momentum=0.9), native_step=native_step)
    twins.run(batches(10))
    twins.assert_same()
    return twins


def libraries() -> list[Path]:
    """What is in the cache."""
    return sorted(library._place().parent.iterdir())


@needs_compiler
@pytest.mark.slow
def test_it_is_built_once(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step on a machine compiles a library into the cache; the next process finds it and
    needs no compiler. Nothing else stays behind."""
    assert trained().engine.how == "C++, 1 thread"
    (built,) = libraries()
    assert built.parent == unbuilt / "torchmlp"
    written = built.stat().st_mtime_ns
    library._load.cache_clear()
    monkeypatch.setattr(library, "_compile", lambda _: pytest.fail("built again"))
    assert trained().engine.how == "C++, 1 thread"
    assert built.stat().st_mtime_ns == written


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("unbuilt")
def test_a_damaged_library_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk has left of a library, one with a changed bit, and a whole one under the
    name of another are not opened but replaced, once and for all."""
    library.load()
    (built,) = libraries()
    right = built.read_bytes()
    # What is compiled would be the same.
    monkeypatch.setattr(library, "_compile", lambda part: part.write_bytes(right))
    load, opened = ctypes.CDLL, list[Path]()

    def opening(path: str) -> ctypes.CDLL:
        opened.append(Path(path))
        return load(path)

    monkeypatch.setattr(ctypes, "CDLL", opening)
    for count, wrong in enumerate(
        (
            b"",
            b"\x7fELF, or what a full disk has left of it",
            right[: len(right) // 2],
            right[:5000] + bytes([right[5000] ^ 1]) + right[5001:],
            right + b" ",
        ),
        1,
    ):
        built.unlink()  # this process has the last one open
        built.write_bytes(wrong)
        built.chmod(0o700)
        library._load.cache_clear()
        assert trained().engine.how == "C++, 1 thread"
        assert opened == [built] * count
        assert libraries() == [built]
        assert built.read_bytes() == right


@needs_compiler
@pytest.mark.slow
def test_what_a_killed_build_has_left_is_swept(unbuilt: Path) -> None:
    """The folder in which a compiler was at work when everything was killed is removed by the next
    build."""
    left = unbuilt / "torchmlp" / "step-0123456789abcdef.01234567.part"
    left.mkdir(parents=True)
    left.parent.chmod(0o700)
    (left / "step.so").write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    library.load()
    assert [path.suffix for path in libraries()] == [".so"]


@needs_compiler
@pytest.mark.slow
def test_without_vector_functions(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where glibc's vector functions are missing, the compiler's own loops take the same step."""
    compiler = unbuilt / "c++"
    compiler.write_text('#!/bin/sh\ncase "$*" in *HAS_VECTOR_MATH*) exit 1;; esac\nexec c++ "$@"\n')
    compiler.chmod(compiler.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CXX", str(compiler))
    for activation in ("tanh", "sigmoid", "relu"):
        twins = Twins(network(activation), "cross_entropy", sgd(), native_step=True)
        twins.run(batches(20))
        assert twins.engine.how == "C++, 1 thread"
        twins.assert_same()


@needs_compiler
@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    """Each ends with a library that is whole, and one file is left."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    env.pop("TORCHMLP_NATIVE", None)
    processes = [child([sys.executable, "-c", SCRIPT], env=env) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert len(list((tmp_path / "torchmlp").iterdir())) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo note >&2; echo 'error: no such thing' >&2; exit 1", "error: no such thing"),
        ("exit 1", "failed"),
    ],
    ids=["words", "silence"],
)
def test_what_the_compiler_says_is_said(
    script: str, reason: str, unbuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that does not compile is no error of the run: the last line of the compiler's is in
    `how`, torch's operators step, and nothing is left in the cache."""
    compiler = unbuilt / "broken"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CXX", str(compiler))
    assert trained(None).engine.how == f"torch's operators ({compiler}: {reason})"
    assert not list((unbuilt / "torchmlp").iterdir())


def test_a_place_where_nothing_can_be_written(
    unbuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder that cannot be made is no error of the run either."""
    (unbuilt / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(unbuilt / "file"))
    how = trained(None).engine.how
    assert how.startswith("torch's operators (NotADirectoryError: ")


@pytest.mark.parametrize("change", ["source", "compiler", "torch", "nothing"])
def test_a_library_for_each_source(
    change: str, unbuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another source, compiler or torch has another file, so that none is ever used for another;
    the same have the same."""
    before = library._place()
    if change == "source":
        shutil.copytree(library.SOURCES, unbuilt / "cpp")
        with (unbuilt / "cpp" / "losses.h").open("a", encoding="utf-8") as file:
            file.write("// \n")
        monkeypatch.setattr(library, "SOURCES", unbuilt / "cpp")
    elif change == "compiler":
        monkeypatch.setenv("CXX", "clang++ -O1")
    elif change == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert (library._place() == before) == (change == "nothing")
    assert before.parent == unbuilt / "torchmlp"


@pytest.mark.parametrize("named", ["", " "])
def test_an_empty_name_is_no_compiler(
    named: str, unbuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CXX="" is as no CXX at all: c++ compiles, into the same file."""
    del unbuilt
    monkeypatch.delenv("CXX", raising=False)
    place = library._place()
    monkeypatch.setenv("CXX", named)
    assert library._place() == place
    assert library._compiler() == ["c++"]


@pytest.mark.slow
def test_a_slow_compiler_is_told_of(
    unbuilt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits for a compiler learns what for, once; a quick one is not worth a word."""
    monkeypatch.setattr(library, "SLOW_S", 0.2)
    for pause, line in (("0.5", f"compiling the training step, once, into {unbuilt}/torchmlp\n"),
                        ("0", "")):  # fmt: skip
        compiler = unbuilt / "slow"
        compiler.write_text(f"#!/bin/sh\nsleep {pause}\nexit 1\n")
        compiler.chmod(0o700)
        monkeypatch.setenv("CXX", str(compiler))
        library._load.cache_clear()
        with pytest.raises(library.NoNativeStepError, match="failed"):
            library.load()
        assert capsys.readouterr().err == line


def test_by_default_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without $XDG_CACHE_HOME it is ~/.cache."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert library._place().parent == Path("/home/somebody/.cache/torchmlp")


def test_the_tables_are_those_of_the_sources() -> None:
    """Numbers and fields that the sources and native_step.py both write down are the same, in
    order."""
    source = "\n".join(p.read_text(encoding="utf-8") for p in library.SOURCES.glob("*.h"))
    assert _names_of("Activation", source) == [name.upper() for name in native.NUMBER_OF]
    assert _names_of("LossName", source) == [name.upper() for name in native.LOSSES]
    assert set(LOSSES) <= set(native.LOSSES)
    told = source.split("is_told_by_value(int activation) {")[1].split("}")[0]
    of_value = {name for name in native.NUMBER_OF if f"== {name.upper()} " in f"{told} "}
    of_value |= {name for name in native.NUMBER_OF if f"== {name.upper()};" in told}
    assert of_value == set(ACTIVATIONS) - native.KEEPS_SLOPES
    structs = {
        "SGDUpdate": list(SGDUpdate._fields),
        "ElementwiseUpdate": list(Elementwise._fields),
        "Update": [field[0] for field in native.Update._fields_],
        "Layer": [field[0] for field in native.Layer._fields_],
        "Counter": [field[0] for field in native.Counter._fields_],
        "Step": [field[0] for field in native.Step._fields_],
        "Ready": [field[0] for field in native._Ready._fields_],
        "Epoch": [field[0] for field in native.Epoch._fields_],
        "Population": [field[0] for field in Population._fields_],
    }
    for name, fields in structs.items():
        body = source.split(f"struct {name} {{")[1].split("};")[0]
        code = "\n".join(line.split("//")[0] for line in body.splitlines())
        places = [_place_of(field, code) for field in fields]
        assert all(first < second for first, second in pairwise(places)), (name, fields)
        declared = sum(line.count(",") + 1 for line in code.split(";") if line.strip())
        assert declared == len(fields), name


def _names_of(enum: str, source: str) -> list[str]:
    body = source.split(f"enum {enum} {{")[1].split("}", maxsplit=1)[0]
    return [name for name in body.replace(",", " ").split() if name]


def _place_of(field: str, code: str) -> int:
    words = code.replace(",", " ").replace(";", " ").replace("*", " ").split()
    return words.index(field)


@needs_compiler
@pytest.mark.slow
def test_what_others_may_write_is_not_loaded(unbuilt: Path) -> None:
    """A library, or a folder, that somebody else could have put there is refused, and `how` says
    so; one of the user's own is loaded."""
    library.load()
    (place,) = libraries()
    assert place.parent.stat().st_mode & 0o777 == 0o700
    for path in (place, place.parent):
        path.chmod(0o777)
        library._load.cache_clear()
        if path is place:  # it is built anew, for this user alone
            library.load()
            assert path.stat().st_mode & 0o022 == 0
            continue
        with pytest.raises(library.NoNativeStepError, match="can be written by others"):
            library.load()
    assert list(unbuilt.rglob("*.so")) == [place]


def test_a_failure_is_not_tried_again(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be compiled, the compiler is asked once and not at every batch size."""
    monkeypatch.setenv("CXX", "false")
    asked: list[Any] = []
    run = subprocess.run

    def counted(*words: Any, **how: Any) -> Any:
        asked.append(words)
        return run(*words, **how)

    monkeypatch.setattr(subprocess, "run", counted)
    for _ in range(3):
        with pytest.raises(library.NoNativeStepError, match=r"^false: failed"):
            library.load()
    assert len(asked) == 2 * 3  # three files, with vector functions and without
    assert list(unbuilt.rglob("*.so")) == []


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, unbuilt: Path) -> None:
    """Where no home can be told, as in some containers, there is a reason and no crash."""
    del unbuilt
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert trained(None).engine.how == (
        "torch's operators (RuntimeError: Could not determine home directory.)"
    )
