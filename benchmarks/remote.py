"""A provider in a process of its own: numpy, JAX and scikit-learn.

Their thread pools and torch's would spin against each other in one process. This one reads requests
from a pipe: take so many steps and return the seconds, or the parameters after some steps. The file
imports no torch; it is also the program that those processes run.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, Pipe

from other_steps import STEPS
from problem import Floats, Problem

LIBRARIES = {"numpy": "numpy", "jax.jit(whole step)": "jax", "scikit-learn partial_fit": "sklearn"}
# What has to be installed for them, by the optimizer where one needs more.
DISTRIBUTIONS = {
    "numpy": ["numpy"],
    "jax": ["jax"],
    ("jax", "adam"): ["jax", "optax"],
    "sklearn": ["scikit-learn"],
}


class Remote:
    """A provider in another process. Times itself, for `timing.compare`."""

    def __init__(
        self, library: str, problem: Problem, threads: int, rate: float, python: str
    ) -> None:
        self.pipe, theirs = Pipe()
        words = [python, __file__, library, problem.network, str(problem.batch)]
        words += [problem.optimizer, str(rate)]
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


@dataclass(frozen=True)
class Peers:
    """The libraries that an interpreter has.

    Attributes:
        python: its path; another than this process's where JAX is not to be beside torch.
    """

    python: str = sys.executable

    def missing(self, library: str, optimizer: str) -> str:
        """The distribution that would have to be installed; "" where nothing would."""
        found = self._versions(library, optimizer)
        return next((name for name, version in found.items() if not version), "")

    def names_and_versions(self, library: str, optimizer: str) -> str:
        """Say, "jax 0.10.2, optax 0.2.8"."""
        found = self._versions(library, optimizer)
        return ", ".join(f"{name} {version}" for name, version in found.items())

    def _versions(self, library: str, optimizer: str) -> dict[str, str]:
        names = DISTRIBUTIONS.get((library, optimizer), DISTRIBUTIONS[library])
        return {name: _version(self.python, name) for name in names}


@cache
def _version(python: str, distribution: str) -> str:
    """Of a distribution that an interpreter has; "" where it has none."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=False
    ).stdout.strip()


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


def serve(library: str, problem: Problem, pipe: Connection, rate: float) -> None:
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
    _, name, network, batch, optimizer, eta, descriptor = sys.argv
    serve(name, Problem(network, int(batch), optimizer), Connection(int(descriptor)), float(eta))
