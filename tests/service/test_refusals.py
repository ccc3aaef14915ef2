"""Refusals at the door: what goes before them, what becomes of the connection and of the body, how they are told."""

import hashlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from service.logs import JsonLines
from tests.service.serving import WAIT_SECONDS, Served, serving, settings_for, wait_until

SMALL = b"x" * 60_000
KEY = "a key of the test's own"


@dataclass
class Caller:
    """One connection, on which answers are read by their stated length."""

    connection: socket.socket
    answers: BinaryIO

    def post(self, body: bytes = SMALL, *, head: str = "", path: str = "/analyze") -> tuple[int, dict[str, str]]:
        self.begin(len(body), head=head, path=path)
        self.connection.sendall(body)
        return self.read()

    def begin(self, num_bytes: int, *, head: str = "", path: str = "/analyze") -> None:
        """Sends a request's headers and none of its body."""
        lines = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {num_bytes}\r\n{head}\r\n"
        )
        self.connection.sendall(lines.encode())

    def read(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an answer, which is read to its stated end."""
        status = int(self.answers.readline().split()[1])
        headers = dict[str, str]()
        while line := self.answers.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name] = value
        assert len(self.answers.read(int(headers["content-length"]))) == int(headers["content-length"])
        return status, headers

    def ends(self) -> bool:
        """Whether the server closes the connection, and sends nothing before it does."""
        return self.answers.read(1) == b""


@contextmanager
def calling(served: Served) -> Iterator[Caller]:
    with socket.create_connection(served.address, WAIT_SECONDS) as connection, connection.makefile("rb") as answers:
        yield Caller(connection, answers)


@contextmanager
def taken(pack: Path, **choices: object) -> Iterator[Served]:
    """A service whose only permit is held by a caller that never sends its body."""
    settings = settings_for(pack, max_files=1, max_in_flight=1, **choices)
    with serving(settings) as served, calling(served) as holder:
        holder.begin(9, head=f"x-api-key: {KEY}\r\n")
        wait_until(lambda: served.parts.admission.in_flight == 1)
        yield served


@pytest.fixture(scope="module")
def full(tiny_pack: Path) -> Iterator[Served]:
    """A service that has no permit left."""
    with taken(tiny_pack) as served:
        yield served


def test_refused_caller_keeps_its_connection(full: Served) -> None:
    """Refused with a body that came whole, or comes behind the answer, a caller goes on where it is."""
    with calling(full) as caller:
        for _ in range(3):
            status, headers = caller.post()
            assert (status, headers.get("connection")) == (429, None)
        caller.begin(len(SMALL))
        assert caller.read()[0] == 429  # before a byte of its body was sent
        caller.connection.sendall(SMALL)
        assert caller.post(b"")[0] == 429
        caller.connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert caller.read()[0] == 200


def test_requests_sent_in_one_go_are_each_refused(full: Served) -> None:
    """Bodies and further requests that come with the headers, before the answer is read, are told apart."""
    one = b"POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde"
    with calling(full) as caller:
        caller.connection.sendall(3 * one + b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" + 2000 * one)
        assert [caller.read()[0] for _ in range(2004)] == [429] * 3 + [200] + [429] * 2000


def test_eight_megabytes_before_the_answer_is_read_keep_the_connection(full: Served) -> None:
    """A body of any size within the cap is thrown away as it comes, and the next request is read behind it."""
    with calling(full) as caller:
        caller.begin(8_000_000)
        caller.connection.sendall(bytes(8_000_000))
        caller.begin(0)
        assert [caller.read()[0] for _ in range(2)] == [429, 429]


def test_body_that_is_held_back_ends_the_connection(full: Served) -> None:
    """A refused caller that never sends the rest of its body is cut off after two seconds."""
    with calling(full) as caller:
        began = time.monotonic()
        caller.begin(9)
        assert caller.read()[0] == 429
        assert caller.ends()
    assert 1.9 < time.monotonic() - began < 4


@pytest.mark.parametrize(
    "head",
    [
        "POST /analyze HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n",
        "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-length: 33000000\r\n\r\n",
        "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nab",
    ],
    ids=["of unknown length", "that waits to be asked for", "over the cap", "of a caller that goes"],
)
def test_connection_whose_body_is_not_read_to_its_end_is_closed(full: Served, head: str) -> None:
    """A refusal says that it closes where the body will not be read whole, and does so after the answer."""
    with calling(full) as caller:
        caller.connection.sendall(head.encode())
        status, headers = caller.read()
        assert (status, headers["connection"]) == (429, "close")
        caller.connection.shutdown(socket.SHUT_WR)
        assert caller.ends()


def test_bodies_behind_refusals_are_bounded(full: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many refused bodies on their way as may be, a further refusal closes; once they have come, none does."""
    monkeypatch.setattr("service.refusals._MOST_BODIES", 1)
    with calling(full) as first, calling(full) as second:
        first.begin(9)
        assert first.read()[1].get("connection") is None
        second.begin(9)
        assert second.read()[1]["connection"] == "close"
        assert second.ends()
        first.connection.sendall(b"x" * 9)
        assert first.post(b"")[0] == 429  # the body before it has come
    with calling(full) as third:
        third.begin(9)
        assert third.read()[1].get("connection") is None


def test_caller_that_is_refused_over_and_over_is_not_taken_for_one_that_never_asks(tiny_pack: Path) -> None:
    """A connection whose requests are refused for longer than a head may take stays open: each of them had come."""
    with taken(tiny_pack, head_seconds=1) as served, calling(served) as caller:
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            caller.begin(9)
            assert caller.read()[0] == 429
            caller.connection.sendall(b"x" * 9)


def test_want_of_room_goes_before_all_but_key_path_and_method(tiny_pack: Path) -> None:
    """Over the cap: 401 without a key, 404 and 405 as ever, and 429 whatever else is wrong with the request."""
    hashed = hashlib.sha256(KEY.encode()).hexdigest()
    with taken(tiny_pack, api_keys=(hashed,)) as served:
        key = {"x-api-key": KEY}
        assert served.client.post("/analyze").status_code == 401
        assert served.client.post("/none", headers=key).status_code == 404
        assert served.client.get("/analyze", headers=key).status_code == 405
        for path in ("/analyze?unknown=1", "/verify?fmr=x", "/search"):
            wrong = {**key, "content-type": "text/plain", "x-deadline-ms": "soon"}
            assert served.client.post(path, content=b"x", headers=wrong).status_code == 429


def test_refusal_is_a_problem_with_its_own_id(full: Served) -> None:
    """Bytes made once hold each request's own id, in the header and in the body."""
    for given in ("a-B_3.4:5", "other"):
        answer = full.client.post("/analyze", content=b"x", headers={"x-request-id": given})
        problem = answer.json()
        assert (answer.headers["x-request-id"], problem.pop("request_id")) == (given, given)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert int(answer.headers["retry-after"]) >= 1
        assert problem == {
            "type": "urn:mien:problem:queue-full",
            "title": "Queue full",
            "status": 429,
            "detail": "As many images are in flight as may be (1).",
        }


def test_many_refusals_are_one_line_and_each_is_counted(tiny_pack: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are told by number once a second, and the last ones at the stop; metrics count every one."""
    with caplog.at_level(logging.INFO, "mien"), taken(tiny_pack) as served:
        for _ in range(20):
            served.client.post("/search", content=b"x")
        assert served.metric("mien_requests_total", route="/search", status="429") == 20
        assert served.metric("mien_rejected_total", reason="queue-full") == 20
        assert served.metric("mien_answer_seconds_count", route="/search", status="429") == 20
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "mien"]
    told = [line for line in lines if line["event"] == "refused" and line["route"] == "/search"]
    assert len(told) <= 3
    assert sum(line["requests"] for line in told) == 20
    assert (told[0]["status"], told[0]["reason"]) == (429, "queue-full")
    assert not any(line["event"] == "request" and line["status"] == 429 for line in lines)


def test_each_refusal_has_a_line_where_all_is_logged(full: Served, caplog: pytest.LogCaptureFixture) -> None:
    """At the level debug a refused request can be found by its id."""
    with caplog.at_level(logging.DEBUG, "mien"):
        full.client.post("/analyze", content=b"x", headers={"x-request-id": "sought"})
        wait_until(lambda: any(getattr(each, "fields", {}).get("request_id") == "sought" for each in caplog.records))
