"""Memory: how the process' allocator treats the large arrays that pictures and graphs come and go in.

glibc gives memory back to the system as soon as an array of a picture's size is freed, and asks for it anew at the
next picture: a thousand page faults an image where, as here, one thread allocates what another frees. Never holds
memory of its own.
"""

import ctypes
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
