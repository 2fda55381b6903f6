"""A provider in a process of its own: numpy, JAX and scikit-learn.

Their thread pools and torch's would spin against each other in one process. This one reads requests
from a pipe: take so many steps and return the seconds, or the parameters after some steps. The file
imports no torch; it is also the program that those processes run.
"""

import os
import subprocess
import sys
import time
from importlib import util
from importlib.metadata import version
from multiprocessing.connection import Connection, Pipe

from other_steps import STEPS
from problem import Floats, Problem

LIBRARIES = {"numpy": "numpy", "jax.jit(whole step)": "jax", "scikit-learn partial_fit": "sklearn"}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


class Remote:
    """A provider in another process. Times itself, for `timing.compare`."""

    def __init__(self, library: str, problem: Problem, threads: int) -> None:
        self.pipe, theirs = Pipe()
        words = [sys.executable, __file__, library, problem.network, str(problem.batch)]
        with theirs:
            descriptor = theirs.fileno()
            self.process = subprocess.Popen(
                [*words, str(descriptor)], env=environment(threads), pass_fds=[descriptor]
            )

    def turn(self, calls: int) -> float:
        """Seconds that so many steps take, after one that is not timed."""
        self.pipe.send(("time", calls))
        return float(self.pipe.recv())

    def parameters_after(self, steps: int, rate: float) -> list[Floats]:
        """The parameters after so many steps of a network of its own."""
        self.pipe.send(("steps", steps, rate))
        found: list[Floats] = self.pipe.recv()
        return found

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.wait()


def missing(library: str) -> bool:
    """Whether it is not installed."""
    return util.find_spec(library) is None


def name_and_version(library: str) -> str:
    """Say, "jax 0.10.2"."""
    distribution = DISTRIBUTIONS.get(library, library)
    return f"{distribution} {version(distribution)}"


def environment(threads: int) -> dict[str, str]:
    """This process's, with every library told the number of threads."""
    count = str(threads)
    pools = ["OMP", "OPENBLAS", "MKL", "NUMEXPR"]
    eigen = "true" if threads > 1 else "false"
    return {
        **os.environ,
        **{f"{pool}_NUM_THREADS": count for pool in pools},
        # OpenBLAS's threads spin for 2^26 cycles after their work: into the next provider's turn.
        "OPENBLAS_THREAD_TIMEOUT": "22",
        "NPROC": count,  # the size of XLA's pool
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={count}",
    }


def serve(library: str, problem: Problem, pipe: Connection, rate: float = 1e-6) -> None:
    """Answer requests until the other end closes the pipe."""
    step = STEPS[library](problem, rate)
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        if what == "steps":
            steps, other_rate = arguments
            checked = STEPS[library](problem, other_rate)
            for _ in range(steps):
                checked.take()
            pipe.send(checked.parameters())
        else:
            step.take()
            step.wait()
            start = time.perf_counter()
            for _ in range(arguments[0]):
                step.take()
            step.wait()
            pipe.send(time.perf_counter() - start)


if __name__ == "__main__":
    serve(sys.argv[1], Problem(sys.argv[2], int(sys.argv[3])), Connection(int(sys.argv[4])))
