"""Every way in which the service says no, and the one table that gives each its status and title.

Never holds wording for one case (whoever raises states the detail), and never lets a detail carry a path, a traceback
or a library's message: a detail is written for the caller, who sees it.
"""
# ruff: noqa: N818 - each is named for what it tells the caller, and every one of them is an error.

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """What a class of errors is on the wire: HTTP status, title, and `slug`, the last part of the problem's type."""

    status: int
    title: str
    slug: str

    @property
    def uri(self) -> str:
        """The problem's `type` (RFC 9457, section 3.1.1)."""
        return f"urn:mien:problem:{self.slug}"


class ServiceError(Exception):
    """A refusal with a clear reason. `detail` is one sentence for the caller."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def kind(self) -> Kind:
        """Status, title and type from the one table."""
        return KINDS[type(self)]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.kind.status

    @property
    def title(self) -> str:
        """The problem's title, the same for every error of the class."""
        return self.kind.title

    @property
    def headers(self) -> dict[str, str]:
        """Further headers that the answer must carry."""
        return {}


def forget_frames(error: BaseException) -> None:
    """Frees what an error that has been dealt with holds: the frames that it came through, and those before it.

    They hold pictures and bodies, and often the error itself: such a ring stays in memory until Python's collector
    comes to it, which under load was after dozens of pictures.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


class BadRequest(ServiceError):
    """400: the request is not what HTTP, multipart or JSON say that it is, or lacks what it must hold."""


class Unauthorized(ServiceError):
    """401: the key is missing or wrong."""

    @property
    def headers(self) -> dict[str, str]:
        """Names the scheme, as RFC 9110 asks of a 401."""
        return {"www-authenticate": "Bearer"}


class NotFound(ServiceError):
    """404: no such route."""


class MethodNotAllowed(ServiceError):
    """405: the route has other methods, which `allow` lists."""

    def __init__(self, detail: str, allow: str = "") -> None:
        super().__init__(detail)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """The methods that the route has."""
        return {"allow": self.allow}


class TooLarge(ServiceError):
    """413: too many bytes, pixels or files."""


class UnsupportedImage(ServiceError):
    """415: the bytes are not of an image type that is allowed, or the body of one that the route does not take."""


class UnreadableImage(ServiceError):
    """422: of an allowed type by its first bytes, and cannot be decoded."""


class NoFace(ServiceError):
    """422: a comparison needs a face and an image has none."""


class UnknownOption(ServiceError):
    """422: a task, a query parameter or a field that does not exist."""


class InvalidOption(ServiceError):
    """422: a known option with a value that it cannot have."""


class Incomparable(ServiceError):
    """422: embeddings of different spaces or lengths cannot be compared."""


class QueueFull(ServiceError):
    """429: as many images are in flight as may be. `retry_after_seconds` is whole and at least 1."""

    def __init__(self, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_seconds = max(1, retry_after_seconds)

    @property
    def headers(self) -> dict[str, str]:
        """When to come again."""
        return {"retry-after": str(self.retry_after_seconds)}


class Internal(ServiceError):
    """500: a fault of the service. The cause goes to the log, never to the caller."""


class Starting(ServiceError):
    """503: not warmed up yet."""


class Draining(ServiceError):
    """503: told to stop; what was accepted is being finished."""


class WouldMissDeadline(ServiceError):
    """503: the queue is predicted to outlast the request's deadline."""


class Stalled(ServiceError):
    """503: a run of the model hangs; `/livez` says so too, until the process is restarted or the run comes back."""


class DeadlinePassed(ServiceError):
    """504: the deadline passed while the request waited."""


KINDS: Final[dict[type[ServiceError], Kind]] = {
    BadRequest: Kind(400, "Malformed request", "malformed-request"),
    Unauthorized: Kind(401, "Missing or wrong key", "unauthorized"),
    NotFound: Kind(404, "Not found", "not-found"),
    MethodNotAllowed: Kind(405, "Method not allowed", "method-not-allowed"),
    TooLarge: Kind(413, "Too large", "too-large"),
    UnsupportedImage: Kind(415, "Not an allowed image type", "unsupported-image"),
    UnreadableImage: Kind(422, "Unreadable image", "unreadable-image"),
    NoFace: Kind(422, "No face", "no-face"),
    UnknownOption: Kind(422, "Unknown task or option", "unknown-option"),
    InvalidOption: Kind(422, "Invalid option", "invalid-option"),
    Incomparable: Kind(422, "Embeddings cannot be compared", "incomparable-embeddings"),
    QueueFull: Kind(429, "Queue full", "queue-full"),
    Internal: Kind(500, "Internal error", "internal-error"),
    Starting: Kind(503, "Starting", "starting"),
    Draining: Kind(503, "Draining", "draining"),
    WouldMissDeadline: Kind(503, "Would miss the deadline", "would-miss-deadline"),
    Stalled: Kind(503, "Model hangs", "model-hangs"),
    DeadlinePassed: Kind(504, "Deadline passed", "deadline-passed"),
}


class Disconnected(Exception):
    """The caller hung up before the answer; counted with status 499 and never answered."""


class StartupError(RuntimeError):
    """The service cannot start; the message is one clear line for the operator."""
