"""Logs: JSON lines on standard error, one event a line.

Never holds an image, an embedding, a key, a file name or an address: an event carries only what `log_event` is given,
and an exception its type and the places in the code it came through.
"""

import contextlib
import logging
import sys
import time
import traceback
from types import TracebackType
from typing import Final, TextIO

import orjson

_LOGGER: Final = logging.getLogger("mien")
_FIELDS: Final = "fields"
_WAITS: Final = "waits"
_MOST_HELD: Final = 512


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: `time`, `level`, `event`, `of_all`, and the event's own fields."""

    def __init__(self, of_all: dict[str, object] | None = None) -> None:
        super().__init__()
        self._of_all = of_all or {}

    def format(self, record: logging.LogRecord) -> str:
        """One line, UTC times in ISO 8601 with milliseconds."""
        line: dict[str, object] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **self._of_all,
        }
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info and record.exc_info[0] is not None:
            line.update(_describe(record.exc_info[0], record.exc_info[2]))
        return orjson.dumps(line, default=str).decode()


def set_up_logs(level: str, worker: int | None = None) -> None:
    """Sends this service's and uvicorn's events to standard error, from `level` up; uvicorn's access log is off.

    Args:
        level: the least that is logged.
        worker: number of the worker that this process is, named in every line; None where it is the only one.
    """
    formatter = JsonLines({} if worker is None else {"worker": worker})
    formatter.converter = time.gmtime
    handler = _Together(sys.stderr)
    handler.setFormatter(formatter)
    for name in ("mien", "asyncio", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level.upper())
    # The parser of uploads tells bytes of a body that it cannot read; whoever sent them is told by status.
    for name in ("uvicorn.access", "python_multipart.multipart"):
        logging.getLogger(name).disabled = True


def is_logged(level: int) -> bool:
    """Whether an event of a level is logged: where asking is cheaper than what the event would hold."""
    return _LOGGER.isEnabledFor(level)


def log_event(
    event: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    waits: bool = False,
    **fields: object,
) -> None:
    """Logs one event.

    Args:
        event: what happened.
        level: of `logging`.
        error: adds its type and where it was raised, not its message, which may quote the input.
        waits: whether its line may wait for others, until `write_logs`; it never comes behind a later one.
        fields: what else the line holds.
    """
    if _LOGGER.isEnabledFor(level):
        info = None if error is None else (type(error), error, error.__traceback__)
        extra = {_FIELDS: fields, _WAITS: waits}
        # Not by `log`, which looks for its caller's file and line: no line of ours has them.
        _LOGGER.handle(_LOGGER.makeRecord(_LOGGER.name, level, "", 0, event, (), info, extra=extra))


def write_logs() -> None:
    """Writes the lines that wait for others."""
    for handler in _LOGGER.handlers:
        handler.flush()


class _Together(logging.StreamHandler[TextIO]):
    """Writes lines that may wait in one go with later ones: one by one they cost the event loop more than the rest."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Holds a line that may wait; else writes it, and those before it."""
        self._held.append(record)
        if not getattr(record, _WAITS, False) or len(self._held) >= _MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Writes what is held."""
        with self.lock or contextlib.nullcontext():
            held, self._held = self._held, []
            lines = "".join(map(self._line, held))
            if not lines:
                return
            try:
                self.stream.write(lines)
                self.stream.flush()
            except Exception:
                self.handleError(held[-1])

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return ""


def _describe(kind: type[BaseException], trace: TracebackType | None) -> dict[str, object]:
    frames = traceback.extract_tb(trace)[-8:]
    return {
        "error": kind.__name__,
        "where": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 2)[-2:])
