"""Names: what to say of a name that nobody knows.

Never repeats more of a caller's text than it takes to recognise it.
"""

import difflib
from collections.abc import Iterable
from typing import Final

_MAX_SHOWN: Final = 40


def nearest(name: str, known: Iterable[str]) -> str:
    """Text that names the unknown and the nearest known name, or all known ones: `'task'; did you mean 'tasks'?`."""
    names = list(known)
    near = difflib.get_close_matches(name[:_MAX_SHOWN].lower(), names, n=1, cutoff=0.5)
    shown = repr(name[:_MAX_SHOWN])
    return f"{shown}; did you mean {near[0]!r}?" if near else f"{shown}; there are: {', '.join(names)}."
