"""The protocol: uvicorn's own, with a note in each request's scope of when the last of its headers came in.

A request's own task begins a turn of the event loop later, behind everything that came at once: a clock that began
there would hide just what an overload adds. Never touches the bytes.
"""

import asyncio
import time
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

ARRIVED: Final = "mien.arrived"


class StampingProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # one of two classes, by what is installed
    """HTTP/1.1 by httptools where it is installed, else by h11."""

    cycle: Any

    def data_received(self, data: bytes) -> None:
        """Takes in bytes; those that complete a request's headers leave their time in its scope."""
        at, before = time.monotonic(), self.cycle
        super().data_received(data)
        if self.cycle is not before and self.cycle is not None:
            self.cycle.scope[ARRIVED] = at


PROTOCOL: Final[type[asyncio.Protocol]] = StampingProtocol
