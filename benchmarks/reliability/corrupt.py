"""Does a damaged file pass, or show a traceback, or hang?

    python benchmarks/reliability/corrupt.py --flips 10000 --seed 0

Every kind of file that the package reads is written once, then damaged again and again: a bit
flipped, an end cut off, two blocks swapped. What reads it must refuse it in one line. Checkpoints
and broken steps get the asked number of flips each, every other kind a tenth of it; of cuts and
swaps each kind gets a tenth of its flips. Exit code 1 where a damaged file of a kind with a
checksum is accepted, or anything else than a refusal comes of any.
"""

import argparse
import gzip
import hashlib
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runs import machine
from timing import write

from torchmlp import MLP, diagnose
from torchmlp._runtime.sealed_file import DamagedFileError, load_sealed, save_sealed
from torchmlp.cli.parsing.yaml_file import read_configuration
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.data import DataError, StreamingBatches, write_shards
from torchmlp.data.images import embedded
from torchmlp.data.images import verify as archives
from torchmlp.data.images.registry import RawFile
from torchmlp.diagnosis import Report
from torchmlp.engine.steps import build as library
from torchmlp.gradcheck.external.npz import read_npz
from torchmlp.lightning.checkpoints.files import AtomicCheckpointIO
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.store import Results, ResultsError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "corrupt.csv"
KEY = ("benchmark", "kind", "damage")
LIMIT_S = 10
SHARE = 10  # of the flips: what gets a tenth
OUTCOMES = ("refused", "unchanged", "accepted", "traceback", "hang")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes one into a folder; the file that is damaged.
        read: reads it; what it holds, as something with an equality.
        refusals: how it may be refused.
        is_checked: whether the format holds a checksum, so that no other content may pass.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...]
    is_checked: bool = True


@dataclass(frozen=True)
class Row:
    """How often each outcome came; `unchanged` files hold what they held."""

    kind: str
    damage: str
    is_checked: bool
    files: int
    refused: int
    unchanged: int
    accepted: int
    traceback: int
    hang: int
    seed: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str
    benchmark: str = "corrupt"


class HangError(BaseException):
    """It took longer than `LIMIT_S`."""


def _plain(value: Any) -> Any:
    """The same with tensors and arrays as bytes, which compare."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _checkpoint(folder: Path) -> Path:
    mlp = MLP(20, [8], 3)
    adam = torch.optim.Adam(mlp.parameters())
    mlp(torch.rand(4, 20)).sum().backward()
    adam.step()
    path = folder / "last.ckpt"
    content = {"state_dict": mlp.state_dict(), "optimizer_states": [adam.state_dict()], "epoch": 3}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def _broken(folder: Path) -> Path:
    path = folder / "broken.pt"
    batch = [torch.rand(8, 20), torch.arange(8) % 3]
    state = {"state_dict": MLP(20, [8], 3).state_dict(), "rng": torch.get_rng_state(), "step": 3}
    save_sealed(state | {"batch": batch}, path)
    return path


def _plain_weights(folder: Path) -> Path:
    path = folder / "weights.pt"
    torch.save(MLP(20, [8], 3).state_dict(), path)
    return path


def _gradients(folder: Path) -> Path:
    w, b = np.random.default_rng(0).random((3, 4)), np.zeros(3)
    path = folder / "gradients.npz"
    np.savez(path, x=np.ones((5, 4)), target=np.arange(5) % 3, W1=w, b1=b, dW1=w, db1=b, loss=1.0)
    return path


def _npz_shard(folder: Path) -> Path:
    return write_shards(np.arange(2e4).reshape(40, 500), np.arange(40) % 3, folder / "s", 40)[0]


def _packed_shard(folder: Path) -> Path:
    path = folder / "packed.npz"
    np.savez_compressed(path, inputs=np.arange(400.0).reshape(40, 10), targets=np.arange(40) % 3)
    return path


def _idx(folder: Path) -> Path:
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 40]) + bytes(k % 3 for k in range(40))
    (folder / "labels").write_bytes(labels)
    path = folder / "images.gz"
    pixels = bytes(k % 251 for k in range(640))
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0, 0, 0, 40, 0, 0, 0, 16]) + pixels))
    return path


def _batches(files: Any) -> Any:
    return list(StreamingBatches([files], 40))


def _configuration(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text(
        "seed_everything: 0\nmodel:\n  class_path: torchmlp.Classifier\n  init_args:\n"
        "    hidden: [512, 256]\n    activation: relu\n    dropout: 0.3\ndata:\n  init_args:\n"
        "    batch_size: 64\n    root: data\ntrainer:\n  max_epochs: 20\n  logger: true\n",
        encoding="utf-8",
    )
    return path


def _diagnosis(folder: Path) -> Path:
    mlp, x = MLP(4, [5], 3), torch.randn(64, 4)
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.1)
    cross_entropy = torch.nn.CrossEntropyLoss()
    report = diagnose(mlp, cross_entropy, sgd, (x, x[:, :3].argmax(1)), steps=5, remedies=False)
    path = folder / "diagnosis.json"
    path.write_text(report.to_json(), encoding="utf-8")
    return path


def _map(folder: Path) -> Path:
    with Results(folder, {"steps": 3}) as results:
        for width in range(1, 20):
            cell = Cell(width=width, depth=1, batch_size=8, lr=0.1, init="he", seed=0)
            results.add(CellResult(cell, "learns", None, 1.0, 0.5, 0.9, None, 2.0, 0.1))
    return results.path


def _read_map(path: Path) -> Any:
    with Results(path.parent, {"steps": 3}) as results:
        return [repr(result) for result in results.finished.values()]


def _digits(folder: Path) -> Path:
    path = folder / "digits.npz"
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
    parts = {"train": images, "test": images}
    arrays: dict[str, Any] = {f"{k}_images": v for k, v in parts.items()} | {
        f"{k}_labels": labels for k in parts
    }
    np.savez_compressed(path, **arrays)
    return path


def _read_digits(path: Path) -> Any:
    kept, embedded.DIGITS_FILE = embedded.DIGITS_FILE, path
    try:
        return list(vars(embedded.read_embedded()).values())
    finally:
        embedded.DIGITS_FILE = kept


MNIST = bytes(k % 251 for k in range(10_000))


def _mnist(folder: Path) -> Path:
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(MNIST)
    return path


def _read_mnist(path: Path) -> Any:
    md5 = hashlib.md5(MNIST, usedforsecurity=False).hexdigest()
    if fault := archives._known_fault(RawFile(path, known=(len(MNIST), md5))):  # noqa: SLF001  what verifies it
        raise DataError(fault)
    return path.read_bytes()


def _library(folder: Path) -> Path:
    content = folder / "content"
    content.write_bytes(random.Random(0).randbytes(20_000))  # noqa: S311  it is never opened
    return content.replace(library._named(folder / "step-0", content))  # noqa: SLF001


def _read_library(path: Path) -> Any:
    path.chmod(0o700)
    return library._built(path.parent / "step-0").name  # noqa: SLF001  what verifies it


KINDS = {
    "checkpoint": Kind(
        _checkpoint, lambda path: AtomicCheckpointIO().load_checkpoint(path), (DamagedFileError,)
    ),
    "broken.pt": Kind(_broken, load_sealed, (DamagedFileError,)),
    "plain torch.save": Kind(_plain_weights, load_sealed, (DamagedFileError,)),
    "compiled step": Kind(_library, _read_library, (library._CompilerError,)),  # noqa: SLF001
    "MNIST file": Kind(_mnist, _read_mnist, (DataError,)),
    "embedded digits": Kind(_digits, _read_digits, (DataError,)),
    "gradients .npz": Kind(_gradients, lambda path: vars(read_npz(path)), (ValueError,)),
    "shard, packed": Kind(_packed_shard, _batches, (DataError,)),
    "shard, gzip IDX": Kind(
        _idx, lambda path: _batches((path, path.with_name("labels"))), (DataError,)
    ),
    "shard .npz": Kind(_npz_shard, _batches, (DataError,), is_checked=False),
    "configuration": Kind(
        _configuration, lambda path: read_configuration(str(path)), (UsageError,), is_checked=False
    ),
    "diagnosis.json": Kind(
        _diagnosis,
        lambda path: Report.from_json(path.read_text(encoding="utf-8")).to_json(),
        (ValueError,),
        is_checked=False,
    ),
    "map's cells.jsonl": Kind(_map, _read_map, (ResultsError,), is_checked=False),
}
SEALED = ("checkpoint", "broken.pt")


def damaged(content: bytes, how: str, draw: random.Random) -> bytes:
    """Other bytes than these: a bit flipped, cut, or two blocks swapped."""
    if how == "flip":
        bit = draw.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        return bytes(flipped)
    if how == "cut":
        return content[: draw.randrange(len(content))]
    while True:
        size = draw.randint(1, max(1, len(content) // 4))
        a = draw.randrange(len(content) - 2 * size + 1)
        b = draw.randrange(a + size, len(content) - size + 1)
        one, other = content[a : a + size], content[b : b + size]
        found = content[:a] + other + content[a + size : b] + one + content[b + size :]
        if found != content:
            return found


@contextmanager
def limited() -> Iterator[None]:
    """Ends what takes too long."""

    def ring(*_: Any) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(kind: Kind, path: Path, right: Any) -> tuple[str, str]:
    """What comes of reading a damaged file, and what is said."""
    try:
        with limited():
            found = _plain(kind.read(path))
    except HangError:
        return "hang", ""
    except kind.refusals as error:
        said = str(error).strip()
        return ("refused" if said else "traceback"), said
    except Exception as error:  # noqa: BLE001  whatever it is, a user would see a traceback
        return "traceback", repr(error)
    return ("unchanged" if found == right else "accepted"), ""


def run(name: str, how: str, count: int, draw: random.Random) -> Counter[str]:
    """Damage one kind of file so many times."""
    kind, counts = KINDS[name], Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        path = kind.make(Path(place))
        content, beside = path.read_bytes(), {p: p.read_bytes() for p in _files(Path(place))}
        right = _plain(kind.read(path))
        for _ in range(count):
            for other, bytes_of in beside.items():
                if not other.exists() or other.read_bytes() != bytes_of:
                    other.write_bytes(bytes_of)
            path.write_bytes(damaged(content, how, draw))
            found, said = outcome(kind, path, right)
            counts[found] += 1
            if found in ("traceback", "hang") or (found == "accepted" and kind.is_checked):
                print(f"{name}, {how}: {found} {said[:200]}", file=sys.stderr)
    return counts


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def main(words: list[str] | None = None) -> int:
    """Damage files; print and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    library._compile = _no_compiler  # noqa: SLF001  a wrong one is told by it
    rows, total = [], Counter[str]()
    for name, kind in KINDS.items():
        flips = options.flips if name in SEALED else max(1, options.flips // SHARE)
        for how in ("flip", "cut", "swap"):
            draw = random.Random(f"{options.seed} {name} {how}")  # noqa: S311  it is to be repeated
            count = flips if how == "flip" else max(1, flips // SHARE)
            counts = run(name, how, count, draw)
            rows.append(
                Row(
                    kind=name,
                    damage=how,
                    is_checked=kind.is_checked,
                    files=count,
                    seed=options.seed,
                    refused=counts["refused"],
                    unchanged=counts["unchanged"],
                    accepted=counts["accepted"],
                    traceback=counts["traceback"],
                    hang=counts["hang"],
                    **machine(),
                )
            )
            total += counts
            total["checked and accepted"] += counts["accepted"] * kind.is_checked
            print(
                f"{name}, {how}: {json.dumps({name: counts[name] for name in OUTCOMES})}",
                flush=True,
            )
    write(options.output, rows, KEY)
    wrong = total["checked and accepted"] + total["traceback"] + total["hang"]
    files = sum(row.files for row in rows)
    print(
        f"{files} damaged files of {len(KINDS)} kinds: {total['refused']} refused in one line, "
        f"{total['unchanged']} with the same content, {total['checked and accepted']} accepted "
        f"against a checksum, {total['accepted'] - total['checked and accepted']} of kinds without "
        f"one, {total['traceback']} tracebacks, {total['hang']} hangs"
    )
    return 1 if wrong else 0


def _no_compiler(path: Path) -> None:
    raise library._CompilerError(f"{path} would be compiled")  # noqa: SLF001


if __name__ == "__main__":
    sys.exit(main())
