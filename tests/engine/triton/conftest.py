"""The kernels run on a GPU, or on a CPU under Triton's interpreter (TRITON_INTERPRET=1)."""

import os
from importlib.util import find_spec

import pytest
import torch


@pytest.fixture
def gpu() -> torch.device:
    """Where kernels can be launched; the test is skipped where they cannot."""
    if find_spec("triton") is None:
        pytest.skip("needs triton, and it is not installed")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; test_under_the_interpreter runs it on the CPU")
    return torch.device("cuda")
