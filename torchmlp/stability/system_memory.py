"""How much memory there is for a program that is about to start."""

import os
from pathlib import Path

SHARE = 0.5  # of the machine's memory, where nobody says how much of it is free


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that new processes may take: what Linux calls available, or what a cgroup leaves.

    Args:
        root: of the file system that /proc and /sys stand in.
    """
    found = [*_of_the_machine(root), *_of_the_cgroup(root)]
    if found:
        return max(min(found), 0)
    return int(SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_the_machine(root: Path) -> list[int]:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]


def _of_the_cgroup(root: Path) -> list[int]:
    """Of the cgroup and those it is in; files that are not there or say "max" set no limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A container sees its own group at the top, whatever the path says.
        own = top / path.lstrip("/")
        for folder in (own, *own.parents[: len(own.parts) - len(top.parts)], top):
            most, now = (_number(folder / name) for name in (limit, used))
            if most is not None and now is not None:
                found.append(most - now + _cached(folder))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cached(folder: Path) -> int:
    """What the group's files take in memory and would give back."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    stat = dict(line.split(maxsplit=1) for line in lines)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
