"""The server: uvicorn on one socket, with a stop that loses nothing.

On SIGTERM or SIGINT: not ready at once; work is still taken for `drain_delay_seconds`, so that a balancer can look
away; then new work is refused while accepted work is finished; then the socket is closed, and `Server.run` returns, so
that the process ends with 0. Connections that never ask are closed (see `service.heads`). Never ends while accepted
work is unfinished, but for `drain_seconds` or a second SIGINT.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp

from service.acceptor import Acceptor, Connections
from service.admission import State
from service.errors import StartupError
from service.heads import Connection, Heads
from service.logs import log_event, write_logs
from service.parts import Parts
from service.protocol import PROTOCOL
from service.roster import Membership, WorkerState
from service.settings import Settings

_BACKLOG: Final = 2048
# Connections taken in one go. asyncio would take as many as wait; where descriptors run out, its loop goes on as often
# again, with a line in the log and a timer each time.
_ACCEPTED_AT_ONCE: Final = 1
_POLL_SECONDS: Final = 0.05
_SWEEP_TICKS: Final = 10  # of 0.1 seconds


def listen(settings: Settings) -> socket.socket:
    """Opens the socket to listen on.

    Raises:
        StartupError: one line, if the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartupError(f"cannot listen on {settings.host} port {settings.port}: {reason}") from error


def make_server(
    app: ASGIApp,
    parts: Parts,
    listener: socket.socket,
    announce: Callable[[str], None] | None = None,
    failure: Callable[[], StartupError | None] = lambda: None,
    member: Membership | None = None,
) -> "Server":
    """A server of an app on a socket: `run(sockets=[listener])` serves until told to stop, or the start-up has failed.

    Args:
        app: what answers.
        parts: its parts.
        listener: from `listen`.
        announce: told the service's address once it is ready.
        failure: why the start-up has failed, None as long as it has not.
        member: this process's place among several that share the socket; None where it is the only one.
    """
    config = uvicorn.Config(
        app,
        http=PROTOCOL,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here looks at who the caller is
        ws="none",
        lifespan="on",
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=parts.settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(parts.settings.drain_seconds),
    )
    return Server(config, parts, address_of(listener), announce, failure, member)


class Server(uvicorn.Server):
    """uvicorn's server, whose stop goes through admission. See the module for the order of things."""

    def __init__(
        self,
        config: uvicorn.Config,
        parts: Parts,
        url: str,
        announce: Callable[[str], None] | None,
        failure: Callable[[], StartupError | None],
        member: Membership | None,
    ) -> None:
        super().__init__(config)
        self._member = member
        self._parts, self._url, self._announce, self._failure = parts, url, announce, failure
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._leaves_alone = False
        self._heads = Heads(parts.settings.head_seconds)
        self._shared = None if member is None else Connections(member)
        if self._shared is not None:
            self.server_state.connections = self._shared

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Notes the loop, which a signal's handler cannot ask for; several workers take their shares themselves."""
        self._running_loop = asyncio.get_running_loop()
        if self._shared is not None:
            await super().startup([])
            for listener in sockets or []:
                # uvicorn closes its servers and waits for them, and no more.
                acceptor = Acceptor(listener, self._shared, self._protocol)
                self.servers.append(cast("asyncio.base_events.Server", acceptor))
            return
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # asyncio has set the length of the kernel's queue to what it takes at once

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends every connection, those too that an acceptor has only just taken, and with them the app."""
        if self._shared is not None:
            for acceptor in self.servers:
                acceptor.close()
                await acceptor.wait_closed()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        """Announces readiness once; ends the main loop when told to stop, or when the start-up has failed."""
        if counter % _SWEEP_TICKS == 0:
            connections = cast("Iterable[Connection]", self.server_state.connections)  # no websockets: HTTP alone
            self._parts.metrics.late_heads.inc(self._heads.sweep(connections))
        self._beat()
        write_logs()
        if self._announce is not None and self._parts.admission.ready:
            announce, self._announce = self._announce, None
            announce(self._url)
        return await super().on_tick(counter) or self._failure() is not None

    async def main_loop(self) -> None:
        """Serves; then, told to stop, lets accepted work finish while the socket still answers."""
        await super().main_loop()
        admission, settings = self._parts.admission, self._parts.settings
        admission.enter(State.LEAVING)
        await self._wait(settings.drain_delay_seconds, lambda: False)
        if self._leaves_alone:  # whoever it has let in is still answered: they cannot know that others would be
            idle_seconds = min(settings.keep_alive_seconds, settings.drain_seconds)
            await self._wait(idle_seconds, lambda: not self.server_state.connections)
        admission.enter(State.DRAINING)
        if not await self._wait(settings.drain_seconds, lambda: admission.in_flight == 0):
            log_event("stopped before accepted work was finished", level=30, images=admission.in_flight)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Told to stop: not ready at once. The signal is not raised again in the end, as uvicorn would; exit is 0."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        if self._running_loop is not None:
            # Not from here: a handler may interrupt whoever holds the metrics' lock.
            self._running_loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        settings = self._parts.settings
        self._leaves_alone = self._member is not None and self._member.leaves_alone
        if self._leaves_alone:
            for server in self.servers:  # this process's hold on the port alone; the others go on
                server.close()
        stays = settings.drain_delay_seconds > 0 or self._leaves_alone
        self._parts.admission.enter(State.LEAVING if stays else State.DRAINING)

    async def _wait(self, most_seconds: float, done: Callable[[], bool]) -> bool:
        end = time.monotonic() + most_seconds
        while not done() and time.monotonic() < end and not self.force_exit:
            self._beat()
            write_logs()
            await asyncio.sleep(_POLL_SECONDS)
        return done()

    def _beat(self) -> None:
        """Tells the others how this process is, and learns how they are."""
        if self._member is None:
            return
        admission = self._parts.admission
        stalled = WorkerState.STALLED if admission.has_stalled else WorkerState.STARTING
        self._member.beat(WorkerState.WARM if admission.takes_work else stalled)
        admission.publish()
        if self._member.is_orphan and not self.should_exit:
            log_event("ends, since its supervisor has gone", level=40)
            self.handle_exit(signal.SIGTERM, None)


def address_of(listener: socket.socket) -> str:
    """The address of what listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
