"""Which cores this process may use, and how many: its affinity and its control group's quota, never the host's count.

Never counts what the machine has: inside a container that figure starts threads that the kernel then throttles.
"""

import os
from pathlib import Path
from typing import Final

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def usable_cores(cgroup_root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> int:
    """Cores this process may keep busy, at least 1; a quota of two and a half counts as two."""
    quota = cpu_quota(cgroup_root, membership)
    affinity = len(os.sched_getaffinity(0))
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def whole_cores(num: int, cgroup_root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> tuple[int, ...]:
    """The cores this process may use, by number, if they are just so many and each may be kept busy; else none.

    Under a quota of fewer, which of them are free at a time is the scheduler's to know.
    """
    cores = os.sched_getaffinity(0)
    is_whole = num == len(cores) == usable_cores(cgroup_root, membership)
    return tuple(sorted(cores)) if is_whole else ()


def cpu_quota(cgroup_root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """The tightest CPU quota over this process, in cores; None without one.

    Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us` over `cpu.cfs_period_us`) of control groups, at the
    process's own group and each group above it: a limit may sit on any of them.
    """
    found: list[float] = []
    for line in _read(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found += [_v2(folder) for folder in _upwards(cgroup_root, group)]
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):
                found += [_v1(folder) for folder in _upwards(cgroup_root / mount, group)]
    limits = [quota for quota in found if quota > 0]
    return min(limits) if limits else None


def _upwards(root: Path, group: str) -> list[Path]:
    folder = root / group.strip("/")
    above = [parent for parent in folder.parents if parent.is_relative_to(root)]
    return [folder, *above]


def _v2(folder: Path) -> float:
    fields = _read(folder / "cpu.max").split()
    return 0.0 if len(fields) != 2 or fields[0] == "max" else float(fields[0]) / float(fields[1])


def _v1(folder: Path) -> float:
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    return float(quota) / float(period) if quota and period and float(period) > 0 else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
