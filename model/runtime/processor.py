"""The processor: which integer dot products it has, on which the worth of a quantised graph rests.

Holds what the system tells of it. Never measures anything (see `export.twin.speed`).
"""

import platform
from functools import cache
from pathlib import Path
from typing import Final

# As Linux names them, of x86-64 and of ARM: four products of 8-bit numbers, summed in 32 bits, in one instruction.
_DOT_PRODUCTS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
_CPUINFO: Final = Path("/proc/cpuinfo")


@cache
def dot_products() -> tuple[str, ...]:
    """Integer dot products that are known of this processor; none where the system does not tell."""
    flags = set(f"{_entry('flags')} {_entry('Features')}".split())
    return tuple(name for name in _DOT_PRODUCTS if name in flags)


def processor() -> str:
    """The processor for people, with its integer dot products."""
    name = _entry("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(dot_products()) or 'no integer dot products known'})"


def _entry(key: str) -> str:
    """The first entry of a name in what Linux tells of its processors; empty where there is none."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in entries if name.strip() == key), "")
