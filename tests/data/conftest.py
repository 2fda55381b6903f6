import gzip
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def full_mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the full MNIST as torchvision lays it out, or a skip."""
    if root := os.environ.get("TORCHMLP_MNIST"):
        return Path(root)
    packed = Path(__file__).parents[3] / "shared" / "mnist"
    if not (packed / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("no full MNIST: set TORCHMLP_MNIST to a folder that holds MNIST/raw/*-ubyte")
    root_path = tmp_path_factory.mktemp("full")
    raw = root_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in packed.glob("*-ubyte.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return root_path
