"""A client: starts the real service as a process of its own on loopback, asks it over HTTP, and stops it.

What the demo and the end-to-end tests stand on. Uses the standard library's HTTP alone. Never answers in the service's
place, and never leaves its process behind.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 120.0
_PROBE_SECONDS: Final = 5.0


class ServiceProcessError(RuntimeError):
    """The service did not start, or did not stop in order; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs on loopback."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://{HOST}:{self.port}/"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = _ANSWER_SECONDS,
    ) -> Answer:
        """Sends one request on a connection of its own.

        Raises:
            OSError: if the service cannot be reached.
        """
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=timeout_seconds)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def post_files(self, path: str, files: Sequence[tuple[str, str, bytes]]) -> Answer:
        """POSTs files as `multipart/form-data`: of each the field's name, the file's name, and its bytes."""
        boundary = secrets.token_hex(16)
        return self.ask(
            "POST", path, multipart(files, boundary), {"content-type": f"multipart/form-data; boundary={boundary}"}
        )

    def post_json(self, path: str, value: object) -> Answer:
        """POSTs JSON."""
        return self.ask("POST", path, json.dumps(value).encode(), {"content-type": "application/json"})


def multipart(files: Sequence[tuple[str, str, bytes]], boundary: str) -> bytes:
    """A `multipart/form-data` body (RFC 7578) of files: of each the field's name, the file's name, and its bytes."""
    parts = []
    for field, name, data in files:
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{field}"; filename="{quoted}"\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def free_port() -> int:
    """A port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def serving(port: int, pack: str | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """The real service as a process of its own, ready to answer; stopped by SIGTERM afterwards.

    Args:
        port: where on loopback.
        pack: name or path of its pack; its default if None.
        environment: variables on top of this process's.

    Raises:
        ServiceProcessError: if the port is taken, if it does not start (with its own last line), or does not stop in
            order.
    """
    if not is_free(port):  # or whoever has it would be taken for the service
        raise ServiceProcessError(f"port {port} is taken by another process")
    command = [sys.executable, "-m", "service", "serve", "--host", HOST, "--port", str(port)]
    command += ["--pack", pack] if pack else []
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C is for this process, which then stops the service in order.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **(environment or {})}
        )
        service = Service(port, process)
        try:
            _wait_until_ready(service, log)
            yield service
        finally:
            _stop(process)
        if process.returncode != 0:
            raise ServiceProcessError(f"the service did not stop in order ({process.returncode}): {_last_line(log)}")


def _wait_until_ready(service: Service, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise ServiceProcessError(f"the service did not start: {_last_line(log)}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if service.ask("GET", "/readyz", timeout_seconds=_PROBE_SECONDS).status == http.HTTPStatus.OK:
                return
        time.sleep(_POLL_SECONDS)
    raise ServiceProcessError(f"the service was not ready after {_READY_SECONDS:.0f} seconds")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else "it said nothing"
