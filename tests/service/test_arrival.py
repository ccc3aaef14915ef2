"""An arrival where the server lends no link: answers and hang-ups by ASGI's own messages."""

import asyncio

import pytest
from starlette.types import Message

from service.arrival import Arrival

HEAD: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"ok"}


class Caller:
    """A caller who hangs up when told to."""

    def __init__(self) -> None:
        self.leaves, self.sent = asyncio.Event(), list[Message]()

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def arrival(self) -> Arrival:
        return Arrival.of({"type": "http", "headers": []}, self.receive)


def test_answer_is_sent_in_order() -> None:
    """Without a link the head goes out before the body, each by itself."""

    async def check() -> list[Message]:
        caller = Caller()
        await caller.arrival().answer(caller.send, HEAD, BODY)
        return caller.sent

    assert asyncio.run(check()) == [HEAD, BODY]


@pytest.mark.parametrize("in_time", [False, True])
def test_hang_up_is_told_within_the_watch_alone(in_time: bool) -> None:
    """Who hangs up while watched is told of once; afterwards nobody hears of it, and no task is left."""

    async def check() -> list[str]:
        caller, told = Caller(), list[str]()
        with caller.arrival().watching(lambda: told.append("gone")):
            if in_time:
                caller.leaves.set()
                while not told:
                    await asyncio.sleep(0)
        caller.leaves.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        return told

    assert asyncio.run(check()) == ["gone"] * in_time


def test_made_up_ids_differ() -> None:
    """A thousand requests without an id have a thousand."""

    async def check() -> set[str]:
        return {Caller().arrival().request_id for _ in range(1000)}

    assert len(asyncio.run(check())) == 1000
