"""What every test gets: one thread, a seed, and a GPU only where there is one."""

import gzip
import os

# Before torch is imported: on small matrices a second thread costs more than it brings, and beside
# another program it makes a test ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo  # what torchmlp imports first, jaxtyping has compiled anew in every process
from hypothesis import settings
from jaxtyping import config

from tests.children import end_all

torch.set_num_threads(1)

# The same examples in every run: a failure is one that the next run shows too.
settings.register_profile("torchmlp", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("torchmlp")


def pytest_configure(config: pytest.Config) -> None:
    """Let pass the warning that torch's forward mode makes of its own, on first use."""
    config.addinivalue_line(
        "filterwarnings", "ignore:`torch.jit.script` is (deprecated|not supported)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those that need a GPU. The longest first: nobody waits for them in the end."""
    for item in items:
        if "gpu" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")
    items.sort(key=lambda item: "at_length" not in item.name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Hear Ctrl-C, as the children then do: it is ignored where the tests were started in the
    background, and after a test in which Lightning was interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Sparingly(type(config)):  # type: ignore[misc]
    """Checks what functions are annotated with for as many calls as are left.

    Checking takes longer than many a function. So each test has its first calls checked, and what
    it calls thousands of times after that costs what it costs a user.
    """

    left = 0

    @property
    def jaxtyping_disable(self) -> bool:
        """Asked by every annotated function, at every call."""
        self.left -= 1
        return self.left < 0


CHECKED_CALLS = 200
checks: Any = config
checks.__class__ = _Sparingly


@pytest.fixture(autouse=True)
def _annotations_checked() -> None:
    checks.left = CHECKED_CALLS


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  what torchvision and Lightning draw from
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _childless() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def annotations_unchecked(_annotations_checked: None) -> None:
    """For a test of what the functions say themselves of arguments that are none."""
    checks.left = 0


@pytest.fixture
def gpu() -> torch.device:
    """A CUDA device; the test is skipped where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def full_mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the full MNIST as torchvision lays it out, or a skip."""
    if root := os.environ.get("TORCHMLP_MNIST"):
        return Path(root)
    packed = Path(__file__).parents[2] / "shared" / "mnist"
    if not (packed / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("no full MNIST: set TORCHMLP_MNIST to a folder that holds MNIST/raw/*-ubyte")
    root_path = tmp_path_factory.mktemp("full")
    raw = root_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in packed.glob("*-ubyte.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return root_path
