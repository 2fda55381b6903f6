"""Compilers, tensors that are none, and several processes: cases of the programs beside this."""

import pytest

from tests.conformance import compile_cases, distributed_cases, duck_cases, trace_cases
from tests.conformance.program import outcomes


@pytest.fixture(scope="session")
def compiled() -> dict[str, str | None]:
    return outcomes("compile_cases")


@pytest.fixture(scope="session")
def traced() -> dict[str, str | None]:
    return outcomes("trace_cases")


@pytest.fixture(scope="session")
def duck_typed() -> dict[str, str | None]:
    return outcomes("duck_cases")


@pytest.fixture(scope="session")
def distributed() -> dict[str, str | None]:
    return outcomes("distributed_cases")


def assert_well(case: str, found: dict[str, str | None]) -> None:
    assert case in found, found["the program itself"]
    error = found[case]
    assert error is None, error


@pytest.mark.slow
@pytest.mark.parametrize("case", compile_cases.CASES)
def test_compilers(case: str, compiled: dict[str, str | None]) -> None:
    """Compiled in one graph: the values and gradients of plain torch."""
    assert_well(case, compiled)


@pytest.mark.slow
@pytest.mark.parametrize("case", trace_cases.CASES)
def test_exporters_and_tracers(case: str, traced: dict[str, str | None]) -> None:
    """Exported or traced, saved and loaded: the values and gradients of plain torch."""
    assert_well(case, traced)


@pytest.mark.slow
@pytest.mark.parametrize("case", duck_cases.CASES)
def test_what_acts_like_a_tensor(case: str, duck_typed: dict[str, str | None]) -> None:
    """A type with functions of its own is asked for them, as F.linear asks it."""
    assert_well(case, duck_typed)


@pytest.mark.slow
@pytest.mark.parametrize("case", distributed_cases.CASES)
def test_several_processes(case: str, distributed: dict[str, str | None]) -> None:
    """Data, sharded and tensor parallel: the values and gradients of one plain process."""
    assert_well(case, distributed)
