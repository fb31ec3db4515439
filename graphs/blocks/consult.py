"""A question to the server that may carry pictures: a server that reads none is asked again without them."""

from typing import Any

from aiflow.agents.interface import Asks
from aiflow.graphs.blocks.attempt import Reply, attempt
from aiflow.types import Message

BLIND = "asked again without the images"


async def consult(server: Asks, question: Message, *, note: str = "", **how: Any) -> list[Reply]:
    """Asks, as ``attempt`` does, and returns one reply, or two where the first refused the pictures."""
    replies = [await attempt(server, [question], note=note, **how)]
    if question.images and replies[0].record["error"].startswith("InputError"):
        blind = Message(question.role, question.text)
        replies.append(await attempt(server, [blind], note=joined(note, BLIND), **how))
    return replies


def joined(*notes: str) -> str:
    """The notes that say something, as one."""
    return "; ".join(filter(None, notes))
