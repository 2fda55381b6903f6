"""What hypothesis draws: the layers somebody might build, ordinary and not."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

batches = st.sampled_from([(), (1,), (2,), (5,), (0,), (2, 3), (3, 1), (0, 2), (2, 0), (2, 2, 2)])
sizes = st.sampled_from([1, 2, 3, 7])
layouts = st.sampled_from(["contiguous", "transposed", "strided", "expanded", "offset"])


class Arguments(NamedTuple):
    """The arguments of a dense layer, and a delta that fits its output."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    delta: Tensor


@st.composite
def dense_arguments(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Arguments:
    """Any number of batch axes, zero rows, one feature; tensors that lie oddly in memory."""
    batch, fan_in, fan_out = draw(batches), draw(sizes), draw(sizes)
    torch.manual_seed(draw(st.integers(0, 2**16)))
    return Arguments(
        laid_out((*batch, fan_in), draw(layouts), dtype),
        laid_out((fan_out, fan_in), draw(layouts), dtype),
        laid_out((fan_out,), draw(layouts), dtype) if draw(st.booleans()) else None,
        laid_out((*batch, fan_out), draw(layouts), dtype),
    )


def laid_out(shape: tuple[int, ...], layout: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random numbers in a tensor of `shape` whose memory is laid out as named."""
    if layout == "transposed":
        return torch.randn(*reversed(shape), dtype=dtype).permute(*reversed(range(len(shape))))
    if layout == "strided":
        return torch.randn(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]
    if layout == "expanded":
        return torch.randn(1, *shape[1:], dtype=dtype).expand(shape)
    if layout == "offset":
        return torch.randn(*shape[:-1], shape[-1] + 3, dtype=dtype)[..., 3:]
    return torch.randn(*shape, dtype=dtype)
