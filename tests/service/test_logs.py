"""Logs: one line of JSON an event, with an error's type and place and never its message."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.logs import JsonLines, log_event, set_up_logs, write_logs

_NAMES = ("mien", "asyncio", "uvicorn", "uvicorn.error", "uvicorn.access", "python_multipart.multipart")


@pytest.fixture
def captured(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Standard error; afterwards what waits is written, and every logger that is set up is what it was."""
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger.handlers, logger.propagate, logger.level, logger.disabled) for logger in loggers]
    yield capsys
    write_logs()
    for logger, (handlers, propagate, level, disabled) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


def test_error_is_logged_by_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    """An exception's message may quote the input, so its line has the type and where it was raised alone."""
    try:
        raise ValueError("SECRET")
    except ValueError as error:
        log_event("it failed", level=logging.ERROR, error=error, model="m", items=3)
    line = json.loads(JsonLines().format(caplog.records[-1]))
    assert (line["level"], line["event"], line["model"], line["items"]) == ("error", "it failed", "m", 3)
    assert line["error"] == "ValueError"
    assert line["where"][-1].startswith("service/test_logs.py:")
    assert "SECRET" not in json.dumps(line)


def test_line_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever an event holds, it is one line."""
    with caplog.at_level(logging.INFO, "mien"):
        log_event("two\nlines", text="a\nb", odd=object)
    assert "\n" not in JsonLines().format(caplog.records[-1])


def test_set_up_sends_both_loggers_to_stderr_once(captured: pytest.CaptureFixture[str]) -> None:
    """Set up twice, an event of the service or of uvicorn is still one line on standard error, from its level up."""
    set_up_logs("info")
    set_up_logs("info")
    log_event("ours")
    log_event("too fine", level=logging.DEBUG)
    logging.getLogger("uvicorn.error").warning("theirs")
    for name in ("uvicorn.access", "python_multipart.multipart"):
        logging.getLogger(name).warning("nobody's business")
    lines = [json.loads(line) for line in captured.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["ours", "theirs"]
    assert all(line["time"].endswith("Z") for line in lines)


def test_lines_that_may_wait_are_written_together_and_in_order(captured: pytest.CaptureFixture[str]) -> None:
    """A line that may wait is held until another that may not, until it is asked for, or until too many are held."""

    def written() -> list[str]:
        return [json.loads(line)["event"] for line in captured.readouterr().err.splitlines()]

    set_up_logs("info")
    log_event("one", waits=True)
    assert written() == []
    log_event("two")
    assert written() == ["one", "two"]
    log_event("three", waits=True)
    write_logs()
    assert written() == ["three"]
    for _ in range(600):
        log_event("many", waits=True)
    assert len(written()) == 512


class Stream(io.StringIO):
    """A stream that notes what each write holds."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = list[str]()

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


@pytest.mark.usefixtures("captured")
def test_lines_are_one_write_and_one_that_cannot_be_made_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines that waited are one write; one whose fields are no JSON is left out, and told of as logging does."""
    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    set_up_logs("info")
    for event, field in (("one", 1), ("two", 1 << 70), ("three", 3)):
        log_event(event, waits=True, field=field)
    write_logs()
    (lines,) = (text for text in stream.writes if text.startswith("{"))
    assert [json.loads(line)["event"] for line in lines.splitlines()] == ["one", "three"]
    assert "Integer exceeds 64-bit range" in stream.getvalue()
