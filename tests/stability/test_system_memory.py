from pathlib import Path

import pytest

from torchmlp.stability.system_memory import available_memory

MEMINFO = "MemTotal:       100000 kB\nMemFree:         10000 kB\nMemAvailable:    60000 kB\n"
FILES = {
    "memory.max": "50000000",
    "memory.current": "20000000",
    "memory.limit_in_bytes": "50000000",
    "memory.usage_in_bytes": "20000000",
}


def system(root: Path, cgroup: str, **files: str) -> Path:
    """A file system with a /proc, and files by their path with __ for slashes."""
    for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


def group(folder: str, names: tuple[str, str], **changes: str) -> dict[str, str]:
    return {f"{folder}/{name}": changes.get(name.replace(".", "_"), FILES[name]) for name in names}


TWO = ("memory.max", "memory.current")
ONE = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_without_a_cgroup_it_is_what_linux_calls_available(tmp_path: Path) -> None:
    """MemAvailable, in bytes."""
    assert available_memory(system(tmp_path, "0::/\n")) == 60000 * 1024


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/a/b\n", group("sys/fs/cgroup/a/b", TWO)),
        ("0::/a/b\n", group("sys/fs/cgroup/a", TWO)),  # the group it is in
        ("0::/\n", group("sys/fs/cgroup", TWO)),  # a container's own
        ("4:memory:/a\n1:cpu:/\n", group("sys/fs/cgroup/memory/a", ONE)),
        ("4:cpu,memory:/elsewhere\n", group("sys/fs/cgroup/memory", ONE)),
    ],
)
def test_a_cgroup_leaves_less(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    """Its limit less what it has taken, in both versions of cgroups, at any level."""
    assert available_memory(system(tmp_path, cgroup, **files)) == 30_000_000


def test_the_files_that_a_cgroup_keeps_in_memory_are_free(tmp_path: Path) -> None:
    """Cached files count as used, and would be given back."""
    files = group("sys/fs/cgroup/a", TWO) | {"sys/fs/cgroup/a/memory.stat": "inactive_file 5000000"}
    assert available_memory(system(tmp_path, "0::/a\n", **files)) == 35_000_000


def test_a_cgroup_without_a_limit_takes_nothing_away(tmp_path: Path) -> None:
    """Version 2 says max, version 1 a number that no machine has."""
    files = group("sys/fs/cgroup/a", TWO, memory_max="max")
    files |= group("sys/fs/cgroup/memory", ONE, memory_limit_in_bytes="9223372036854771712")
    found = available_memory(system(tmp_path, "4:memory:/\n0::/a\n", **files))
    assert found == 60000 * 1024


def test_a_cgroup_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    """Never less than nothing."""
    files = group("sys/fs/cgroup", TWO, memory_current="70000000")
    assert available_memory(system(tmp_path, "0::/\n", **files)) == 0


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    """Another system than Linux: a share of the machine's memory, some GB."""
    assert 100_000_000 < available_memory(tmp_path) < 10**15
