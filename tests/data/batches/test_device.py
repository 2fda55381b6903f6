import pytest
import torch

from torchmlp.data.batches.device import to_device_if_it_fits


@pytest.mark.parametrize(("free", "goes"), [(4000, True), (3999, False)])
def test_what_fits_goes_to_the_device(
    monkeypatch: pytest.MonkeyPatch, free: int, goes: bool
) -> None:
    """Up to a quarter of the free memory a data set is moved, once; a larger one stays."""
    moved = torch.zeros(1)
    values = torch.zeros(1000, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10 * free))
    monkeypatch.setattr(torch.Tensor, "to", lambda *_: moved)
    assert to_device_if_it_fits(values, torch.device("cuda", 1)) is (moved if goes else values)


def test_on_the_cpu_nothing_is_copied() -> None:
    """Data that are where they are needed are handed back as they are."""
    values = torch.zeros(3)
    assert to_device_if_it_fits(values, torch.device("cpu")) is values


def test_on_a_gpu(gpu: torch.device) -> None:
    """A small data set lies on the GPU afterwards, bit for bit."""
    values = torch.arange(10)
    placed = to_device_if_it_fits(values, gpu)
    assert placed.is_cuda
    assert placed.cpu().equal(values)
