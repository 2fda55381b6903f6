"""The program: `torchmlp`, `python -m torchmlp`, and train.py in a checkout."""

import gc
import os
import signal
import sys


def program() -> None:
    """Run the command line of sys.argv, and exit with its code."""
    # Until main hears them itself, and once it is done. What was ignored stays so.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: os._exit(128 + number))
    # Read when torch is loaded. OpenMP's threads would spin while they wait for each other; when
    # another process has the core they wait for, that makes a step ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Until main has imported what it needs: the imports make half a million objects, none of them
    # garbage, and looking through them again and again takes a fifth of their time.
    gc.disable()
    from torchmlp.cli import main  # noqa: PLC0415  after the above

    sys.exit(main())


if __name__ == "__main__":
    program()
