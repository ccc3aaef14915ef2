"""Asking a queue from an event loop, as a caller who waits for one item."""

from typing import TypeVar

from service.batcher import Answered, Batcher, Wish
from service.errors import ServiceError
from service.reply import Reply

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def ask(batcher: Batcher[Item, Answer], item: Item, deadline: float) -> Answered[Answer]:
    """Queues one item and waits for its answer; cancelling the wait takes the item out."""
    reply = Reply[Answered[Answer]]()

    def done(answer: Answered[Answer] | ServiceError) -> None:
        if isinstance(answer, ServiceError):
            reply.fail(answer)
        else:
            reply.give(answer)

    batcher.put([Wish(item, deadline, done, reply.is_wanted)])
    return await reply.future
