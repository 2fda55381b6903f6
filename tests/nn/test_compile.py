"""torch.compile traces the modules without a graph break."""

import subprocess
import sys

import pytest

# In a process of its own: what checks the annotations in a test run is nothing Dynamo can trace.
PROGRAM = """
import torch
from torchmlp import MLP, dense, network_loss

torch.manual_seed(0)
mlp = MLP(4, [8, 6], 3, "gelu", dropout=0.5, input_dropout=0.1, dtype=torch.float64)
x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
target = torch.tensor([0, 2, 1, 1, 0])

def loss(x):
    return network_loss(x, target, mlp.weights, mlp.biases, mlp.activations)

def layer(x):
    return dense(x, mlp.weights[0], mlp.biases[0], "tanh", average=True).square().sum()

def in_training(x):
    return mlp.train()(x).square().sum()

def in_evaluation(x):
    return mlp.eval()(x).square().sum()

for function in (loss, layer, in_evaluation, in_training):
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    answers = []
    for call in (function, compiled):
        mlp.zero_grad()
        x.grad = None
        torch.manual_seed(1)
        value = call(x)
        value.backward()
        gradients = [p.grad for p in mlp.parameters() if p.grad is not None]
        answers.append([value.detach(), x.grad, *(g.clone() for g in gradients)])
    for eager, traced in zip(*answers, strict=True):
        assert traced.isfinite().all()
        if function is not in_training:  # Dynamo draws its random numbers in another order
            torch.testing.assert_close(traced, eager, rtol=1e-12, atol=1e-12)
"""


@pytest.mark.slow
def test_compiles_in_one_graph() -> None:
    """dense, network_loss and MLP, dropout included: one graph, the same loss and gradients."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
