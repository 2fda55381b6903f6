"""`verify`: is a hand-written backward pass right, and if not, which mistake does it hold?"""

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, imports_are_done

TEXT = """\
{program} verify FILE.py:function   a function that computes gradients
{program} verify gradients.npz      gradients from anywhere, in arrays

The function is called as function(x, target, weights, biases), with numpy
arrays and lists of them, and returns loss, grad_weights, grad_biases: the mean
loss of the batch (or None) and two lists of arrays, first layer first. The
file holds x, target, W1, b1, W2, b2, ..., dW1, db1, dW2, db2, ... and, if you
have it, loss. Weights are (fan_out, fan_in) or (fan_in, fan_out), as your code
uses them.

By the loss reported, the network is recognised: activations, output, loss.
Where that is in doubt:

  --activation NAME          of the hidden layers: relu, sigmoid, tanh, ...
  --output_activation NAME   of the last layer, or softmax; identity: the loss
                             reads logits
  --loss NAME                cross_entropy, mse (½ squared error) or bce
  --hidden N [N ...]         widths of the hidden layers your function expects
                             (default: one of 6)
  --labels                   your function wants targets as labels (B,), not as
                             one-hot rows (B, K)
  --weight_decay RATE        ½ RATE |W|² belongs to the loss

Exit codes: 0 the gradients are right, 1 they are wrong, 2 usage
"""


def _run(words: list[str], _interruption: Interruption) -> int:
    from torchmlp.cli.actions.verify import verify  # noqa: PLC0415  needs torch, not Lightning

    imports_are_done()
    return verify(words)


COMMAND = Command("verify", "is your own backward pass right?", TEXT, _run)
