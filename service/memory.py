"""Memory: how the process' allocator treats large arrays, and Python's collector what stands as long as the process.

glibc gives memory back to the system as soon as an array of a picture's size is freed, and asks for it anew at the
next picture: a thousand page faults an image where, as here, one thread allocates what another frees. Never holds
memory of its own.
"""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from typing import Final

# Parameters of mallopt(3), by number in glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 32 << 20  # a decoded picture is smaller; what is larger goes back to the system at once
_NUM_ARENAS: Final = 2


def keep_freed_memory() -> bool:
    """Lets freed memory of up to 32 MB a heap stay with this process, in two heaps instead of one a thread.

    Returns:
        Whether the C library took it; another than glibc is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_M_MMAP_THRESHOLD, _KEPT_BYTES), (_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES), (_M_ARENA_MAX, _NUM_ARENAS))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python's collector still while modules are imported: all they make stays, and it would look through it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_what_stands() -> None:
    """Takes all objects that there are from what Python's collector looks through: modules, models, the wired app.

    For a process that serves, once it is wired. The event loop then does not stand still for them again and again.
    """
    gc.freeze()
