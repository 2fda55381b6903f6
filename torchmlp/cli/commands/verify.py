"""`verify`: is a hand-written backward pass right, and if not, which mistake does it hold?"""

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, imports_are_done

TEXT = """\
{program} verify FILE.py            the network in it, as it stands
{program} verify FILE.py:NAME       a function, class or Class.method
{program} verify FILE.ipynb[:NAME]  the same in a notebook
{program} verify gradients.npz      gradients from anywhere
{program} verify FOLDER/*.py        many submissions, in a table

The file's imports, functions, classes and constants are loaded; what trains or
reads data when it is imported is not run. The network in it is called with
random batches of several shapes, however it is written: functions of
parameters in a dict, in lists, one by one or in one vector; forward, cost and
backward apart; classes that return gradients, keep them, or update their
weights in place; layers as objects; tensors or lists of floats; samples as
rows, as columns, or one at a time. By its losses the network is recognised,
and the mistakes in its gradients are named.

  --json FILE                write the verdict too, as JSON
  --quiet                    print nothing: the exit code says it
  --template                 print an adapter of a few lines for this file, to
                             be filled in where it cannot be called as it is
  --time_limit SECONDS       for each file's own code; 20 where it is not given

Where it is in doubt what the network is:

  --activation NAME          of the hidden layers: relu, sigmoid, tanh, ...
  --output_activation NAME   of the last layer, or softmax; identity: the loss
                             reads logits
  --loss NAME                cross_entropy, mse (½ squared error) or bce
  --hidden N [N ...]         widths of the hidden layers your code expects
                             (default: one of 8)
  --weight_decay RATE        ½ RATE |W|² belongs to a loss that is not reported

A file of arrays holds x, target, W1, b1, W2, b2, ..., dW1, db1, dW2, db2, ...
and, if you have it, loss. Weights are (fan_out, fan_in) or (fan_in, fan_out).

Exit codes: 0 the gradients are right, 1 they are wrong, 2 usage, or nothing in
the file could be called
"""


def _run(words: list[str], _interruption: Interruption) -> int:
    from torchmlp.foreign.process import begin, end_begun  # noqa: PLC0415  needs numpy

    try:
        # The file is called in its process while this one loads torch, which takes as long.
        if len(words) == 1 or words[1:] == ["--quiet"]:
            begin(words[0])
        from torchmlp.cli.actions.verify import verify  # noqa: PLC0415  needs torch

        imports_are_done()
        return verify(words)
    finally:
        end_begun()


COMMAND = Command("verify", "is your own backward pass right?", TEXT, _run)
