"""Usage: CPU seconds and memory of a process and all its descendants, from Linux' /proc.

CPU seconds are the kernel's, to a clock tick (10 ms as a rule). Never asks the measured process anything, so that
measuring costs it nothing.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PPID, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14  # fields of stat behind the command's name (proc(5))
_RESET_PEAK: Final = "5"  # written to clear_refs: the peak starts anew at what is resident now


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and its descendants, however many there are at the time."""

    pid: int
    alone: bool = False  # the process without its descendants

    def pids(self) -> tuple[int, ...]:
        """Its processes, the first one first."""
        return tuple(self._stats())

    def cpu_seconds(self) -> float:
        """User and system time since they started; ended children that were waited for are counted."""
        fields = (_UTIME, _STIME) if self.alone else (_UTIME, _STIME, _CUTIME, _CSTIME)
        ticks = sum(int(stat[field]) for stat in self._stats().values() for field in fields)
        return ticks / _TICKS_A_SECOND

    def resident_mb(self) -> float:
        """Resident memory in MB of 1,000,000 bytes; pages that processes share count once a process."""
        return self._memory_mb("VmRSS")

    def peak_mb(self) -> float:
        """The sum of each process's highest resident memory since `reset_peak`, in MB."""
        return self._memory_mb("VmHWM")

    def reset_peak(self) -> None:
        """Lets the peaks begin anew; where the kernel does not let us, they are those since the start."""
        for pid in self._stats():
            with contextlib.suppress(OSError):
                (PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)

    def _memory_mb(self, name: str) -> float:
        total_kb = 0
        for pid in self._stats():
            with contextlib.suppress(OSError):
                for line in (PROC / str(pid) / "status").read_text().splitlines():
                    if line.startswith(f"{name}:"):
                        total_kb += int(line.split()[1])
        return total_kb * 1024 / 1e6

    def _stats(self) -> dict[int, list[str]]:
        """The fields of each process's stat."""
        stats = dict[int, list[str]]()
        for folder in PROC.iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    stats[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
        found, added = [self.pid], {self.pid}
        while added and not self.alone:
            added = {pid for pid, stat in stats.items() if int(stat[_PPID]) in added} - set(found)
            found += sorted(added)
        return {pid: stats[pid] for pid in found if pid in stats}


def own_cpu_seconds() -> float:
    """CPU seconds of this process alone, all its threads."""
    times = os.times()
    return times.user + times.system
