"""Acceptor: takes connections off a socket that several workers share, so that each gets its share of them.

The kernel hands a connection to whichever worker asks first. Workers that are idle ask at the same time, and one of
them may get all of a balancer's few connections, which it keeps for good, while the others look on. So a worker that
has more connections than another leaves a new one to the others for a moment. Never reads a byte.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from service.logs import log_event
from service.roster import Membership

_LEFT_SECONDS: Final = 0.005  # how long a connection is left to workers that have fewer
_STARVED_SECONDS: Final = 0.2  # between two tries where descriptors or memory have run out
_STARVED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Connections(set[Any]):  # uvicorn's set of protocols, of whichever kinds
    """A worker's open connections, whose number the others see."""

    def __init__(self, member: Membership) -> None:
        super().__init__()
        self._member, self._num_coming = member, 0

    @property
    def are_more_than_others(self) -> bool:
        """Whether another worker that takes work has fewer."""
        return len(self) + self._num_coming > self._member.fewest_connections

    def expect(self, num: int) -> None:
        """Counts connections that are accepted and not yet among these, or no longer: 1 or -1."""
        self._num_coming += num
        self._tell()

    def add(self, element: object, /) -> None:
        """One more."""
        super().add(element)
        self._tell()

    def discard(self, element: object, /) -> None:
        """One less."""
        super().discard(element)
        self._tell()

    def _tell(self) -> None:
        self._member.tell_connections(len(self) + self._num_coming)


class Acceptor:
    """Takes connections until it is closed. Belongs to the running event loop.

    Args:
        listener: the shared socket.
        connections: this worker's.
        make_protocol: makes what a connection talks to, which adds itself to them.
    """

    def __init__(
        self, listener: socket.socket, connections: Connections, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listener, self._connections, self._make_protocol = listener, connections, make_protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._come)

    def close(self) -> None:
        """Takes no more; what it took lives on."""
        if self._pause is None:
            self._loop.remove_reader(self._listener.fileno())
        else:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Waits until what it took has its protocol."""
        await asyncio.gather(*self._opening)

    def _come(self) -> None:
        """A connection has come, for one of the workers."""
        if self._connections.are_more_than_others:
            self._wait(_LEFT_SECONDS)
        else:
            self._take()

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        """Takes what nobody has taken meanwhile."""
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._come)
        self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or the caller has gone
        except OSError as error:
            if error.errno not in _STARVED:
                raise
            log_event("no connection can be taken", level=40, reason=error.strerror)
            self._wait(_STARVED_SECONDS)
            return
        self._connections.expect(1)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # it has ended already
            connection.close()
        finally:
            self._connections.expect(-1)
