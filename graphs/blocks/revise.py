"""Step 4 (AI Flow, IV-A): the joint answer goes back, and each device revises its own in its light."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiflow import prompts
from aiflow.agents.interface import Asks
from aiflow.graphs.blocks.attempt import Reply
from aiflow.graphs.blocks.fan_out import gather
from aiflow.types import Message, Options, conversation


async def revise(
    devices: Sequence[Asks],
    answers: Mapping[str, str],
    merged: str,
    messages: Any,
    *,
    sender: str | None = None,
    options: Options | None = None,
    deadline: float | None = None,
) -> list[Reply]:
    """Asks every device that has an answer for its final one: the conversation, its own answer, then ``merged``.

    A device that fails is a Reply that is not ``ok``; its own answer stands.
    """
    turns = conversation(messages)
    back = Message("user", prompts.revise(merged))

    def question(device: Asks) -> list[Message]:
        return [*turns, Message("assistant", answers[device.name]), back]

    asked = [device for device in devices if device.name in answers]
    return await gather(asked, question, step="revise", sender=sender, options=options, deadline=deadline)
