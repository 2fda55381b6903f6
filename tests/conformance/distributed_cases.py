"""Two processes that talk through gloo: data, sharded and tensor parallel; see `program`."""

# mypy: allow-untyped-calls

import copy
import functools
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.multiprocessing.spawn import start_processes
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel

from tests.conformance.layers import Layer, dense, linear_then
from tests.conformance.program import attempt, report
from tests.oracles import FUNCTIONS, losses
from torchmlp import MLP, Dense, network_loss

WORLD = 2
# Torch has no rule for sharding the backward pass of some others.
KINDS = ("identity", "relu", "tanh", "gelu", "sigmoid")
LAYERS: tuple[Layer, Layer] = (dense, linear_then)
PLACEMENTS = {
    "x by rows": (Shard(0), Replicate(), Replicate()),
    "x by columns": (Shard(1), Shard(1), Replicate()),
    "weight by rows": (Replicate(), Shard(0), Shard(0)),
    "weight by columns": (Replicate(), Shard(1), Replicate()),
    "all alike": (Replicate(), Replicate(), Replicate()),
}


def networks(activation: str = "gelu") -> tuple[MLP, nn.Sequential]:
    torch.manual_seed(0)
    mlp = MLP(8, [6, 4], 4, activation, dtype=torch.float64)
    return mlp, mlp.to_sequential()


def data() -> Tensor:
    torch.manual_seed(7)
    return torch.randn(8, 8, dtype=torch.float64)


def own_part(x: Tensor) -> Tensor:
    return x.chunk(WORLD)[dist.get_rank()]


def whole(tensor: Any) -> Tensor:
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(whole(actual), whole(expected), rtol=1e-9, atol=1e-9)


def same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        same(mine.grad, other.grad)


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "static graph": {"static_graph": True},
    "find unused": {"find_unused_parameters": True},
    "views": {"gradient_as_bucket_view": True},
}


def data_parallel(mesh: DeviceMesh, options: str) -> None:
    del mesh
    mlp, plain = networks()
    replica = DistributedDataParallel(mlp, **OPTIONS[options])
    optimizers = [torch.optim.SGD(network.parameters(), 0.1) for network in (mlp, plain)]
    for _ in range(3):
        for network, x, optimizer in zip(
            (replica, plain), (own_part(data()), data()), optimizers, strict=True
        ):
            optimizer.zero_grad()
            torch.autograd.backward(network(x).square().mean())
            optimizer.step()
        same_gradients(mlp, plain)


def data_parallel_network_loss(mesh: DeviceMesh) -> None:
    """The averaged gradients of two halves are those of the whole batch."""
    del mesh

    class WithLoss(nn.Module):
        def __init__(self, mlp: MLP) -> None:
            super().__init__()
            self.mlp = mlp

        def forward(self, x: Tensor, target: Tensor) -> Tensor:
            m = self.mlp
            return network_loss(x, target, m.weights, m.biases, m.activations)

    mlp, plain = networks()
    target = torch.arange(8) % 4
    replica = DistributedDataParallel(WithLoss(mlp))
    torch.autograd.backward(replica(own_part(data()), own_part(target)))
    torch.autograd.backward(F.cross_entropy(plain(data()), target))
    same_gradients(mlp, plain)


def fully_sharded(mesh: DeviceMesh, each_layer: bool, mixed: bool) -> None:
    mlp, plain = networks()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16) if mixed else MixedPrecisionPolicy()
    if each_layer:
        for layer in mlp.layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(mlp, mesh=mesh, mp_policy=policy)
    torch.autograd.backward(mlp(own_part(data())).float().square().mean())
    torch.autograd.backward(plain(data()).square().mean())
    # It averages gradients in float32, those of float64 parameters too.
    close: dict[str, Any] = {"rtol": 0.1, "atol": 0.02} if mixed else {"rtol": 1e-5, "atol": 1e-6}
    for mine, other in zip(mlp.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(whole(mine.grad), other.grad, **close)


def tensor_parallel(mesh: DeviceMesh, activation: str) -> None:
    """Columns, then rows: the row-wise layer's Partial sums meet before its activation."""
    torch.manual_seed(0)
    ours = nn.Sequential(
        Dense(8, 6, activation=activation), Dense(6, 4, activation=activation)
    ).double()
    theirs = copy.deepcopy(ours)
    parallelize_module(ours, mesh, {"0": ColwiseParallel(), "1": RowwiseParallel()})
    outputs = [ours(data()), _plain_chain(theirs, activation, data())]
    same(*outputs)
    torch.autograd.backward([output.square().sum() for output in outputs])
    same_gradients(ours, theirs)


def _plain_chain(network: Any, activation: str, x: Tensor) -> Tensor:
    for layer in network:
        x = FUNCTIONS[activation](F.linear(x, layer.weight, layer.bias))
    return x


def tensor_parallel_mlp(mesh: DeviceMesh) -> None:
    mlp, plain = networks()
    plan = {"layers.0": ColwiseParallel(), "layers.1": RowwiseParallel()}
    parallelize_module(mlp, mesh, plan)
    outputs = [mlp(data()), plain(data())]
    same(*outputs)
    torch.autograd.backward([output.square().sum() for output in outputs])
    same_gradients(mlp, plain)


def sequence_parallel(mesh: DeviceMesh) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(
        nn.LayerNorm(8), Dense(8, 6, activation="gelu"), Dense(6, 8, activation="tanh")
    ).double()
    theirs: Any = copy.deepcopy(ours)
    plan = {
        "0": SequenceParallel(),
        "1": ColwiseParallel(input_layouts=Shard(1)),
        "2": RowwiseParallel(output_layouts=Shard(1), use_local_output=False),
    }
    parallelize_module(ours, mesh, plan)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    dist.broadcast(x, 0)
    given = distribute_tensor(x, mesh, [Shard(1)])
    normal = theirs[0](x)
    hidden = FUNCTIONS["gelu"](F.linear(normal, theirs[1].weight, theirs[1].bias))
    expected = FUNCTIONS["tanh"](F.linear(hidden, theirs[2].weight, theirs[2].bias))
    actual = ours(given)
    same(actual, expected)
    torch.autograd.backward([whole(actual).square().sum(), expected.square().sum()])
    for k in (1, 2):
        same(ours[k].weight.grad, theirs[k].weight.grad)


def placed(mesh: DeviceMesh, activation: str, placement: str) -> None:
    """Output and gradients, and where they lie, are those of F.linear and the activation."""
    shapes = [(8, 6), (4, 6), (4,)]
    torch.manual_seed(1)
    values = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    found = []
    for layer in LAYERS:
        given = [
            distribute_tensor(value, mesh, [place]).requires_grad_()
            for value, place in zip(values, PLACEMENTS[placement], strict=True)
        ]
        output = layer(*given, activation)
        assert isinstance(output, DTensor)
        torch.autograd.backward(output.full_tensor().square().sum())
        found.append([output, *(t.grad for t in given)])
    for mine, other in zip(*found, strict=True):
        assert isinstance(mine, DTensor)
        assert mine.placements == other.placements
        same(mine, other)


def partial_input(mesh: DeviceMesh) -> None:
    """A DTensor that is a sum over the processes is summed before anything that is not linear."""
    part = data() * (dist.get_rank() + 1)
    x = DTensor.from_local(part, mesh, [Partial()])
    torch.manual_seed(1)
    weight, bias = torch.randn(4, 8).double(), torch.randn(4).double()
    placed_weight, placed_bias = (distribute_tensor(t, mesh, [Replicate()]) for t in (weight, bias))
    actual = dense(x, placed_weight, placed_bias, "gelu")
    same(actual, F.gelu(F.linear(3 * data(), weight, bias)))


def placed_network_loss(mesh: DeviceMesh, loss: str) -> None:
    mlp, plain = networks()
    x = data()
    target = torch.arange(8) % 4 if loss == "cross_entropy" else torch.rand(8, 4).double()
    dist.broadcast(target, 0)
    leaves = [
        distribute_tensor(p.detach(), mesh, [Replicate()]).requires_grad_()
        for p in mlp.parameters()
    ]
    rows, labels = (distribute_tensor(t, mesh, [Shard(0)]) for t in (x, target))
    value = network_loss(rows, labels, leaves[::2], leaves[1::2], mlp.activations, loss)
    expected = losses(plain(x), target, loss).mean()
    same(value, expected)
    torch.autograd.backward([whole(value), expected])
    for mine, other in zip(leaves, plain.parameters(), strict=True):
        same(mine.grad, other.grad)


def checkpointed_state(mesh: DeviceMesh) -> None:
    """A sharded module's state_dict, gathered, loads into nn.Linear."""
    layer = Dense(8, 4, activation="relu").double()
    linear = nn.Linear(8, 4).double()
    dist.broadcast(layer.weight.data, 0)
    dist.broadcast(layer.bias.data, 0)
    expected = layer.weight.detach().clone()
    fully_shard(layer, mesh=mesh)
    linear.load_state_dict({name: whole(t) for name, t in layer.state_dict().items()})
    same(linear.weight.detach(), expected)


def _cases() -> dict[str, Callable[[DeviceMesh], None]]:
    made: dict[str, Callable[[DeviceMesh], None]] = {}

    def add(function: Callable[..., None], *arguments: Any) -> None:
        name = " ".join([function.__name__, *map(str, arguments)])
        made[name] = lambda mesh: function(mesh, *arguments)

    for options in OPTIONS:
        add(data_parallel, options)
    add(data_parallel_network_loss)
    for each_layer in (True, False):
        add(fully_sharded, each_layer, False)
    add(fully_sharded, True, True)
    for activation in KINDS:
        add(tensor_parallel, activation)
        for placement in PLACEMENTS:
            add(placed, activation, placement)
    add(tensor_parallel_mlp)
    add(sequence_parallel)
    add(partial_input)
    for loss in ("cross_entropy", "mse", "bce"):
        add(placed_network_loss, loss)
    add(checkpointed_state)
    return made


CASES = _cases()


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    store = torch.distributed.FileStore(  # type: ignore[attr-defined]
        str(Path(folder) / "store"), WORLD
    )
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    mesh = init_device_mesh("cpu", (WORLD,))
    for name, case in CASES.items():
        error = attempt(functools.partial(case, mesh))
        errors: list[str | None] = [None] * WORLD
        dist.all_gather_object(errors, error)
        if rank == 0:
            report(name, next((e for e in errors if e), None))
    dist.destroy_process_group()


def main() -> None:
    """Run every case in two processes; the first one reports."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_work, (folder,), WORLD, start_method="spawn")


if __name__ == "__main__":
    main()
