"""Agents for the tests: puppets that answer by a function, record what they were asked, and fail on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiflow.errors import AgentDiedError
from aiflow.types import Answer, Delta, Image, Message, Options, Usage, conversation

Play = str | Exception | Callable[[tuple[Message, ...]], Any]


class Puppet:
    """An ``Asks`` that says ``play`` (or what it returns; an exception is raised) after ``delay`` seconds."""

    def __init__(self, name: str, play: Play = "ok", *, about: str = "", delay: float = 0.0, stubborn: bool = False):
        self.name, self.about, self.node = name, about or f"about {name}", f"node-{name}"
        self.play, self.delay, self.stubborn = play, delay, stubborn
        self.asked: list[tuple[Message, ...]] = []
        self.calls: list[dict[str, Any]] = []
        self.cancelled = 0

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> Answer:
        turns = conversation(messages)
        self.asked.append(turns)
        self.calls.append({"sender": sender, "options": options, "deadline": deadline})
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            if self.stubborn:
                await asyncio.sleep(3)
            raise
        said = self.play(turns) if callable(self.play) else self.play
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Answer) or not isinstance(said, str):
            return said
        usage = Usage(requests=1, prompt_tokens=sum(len(t.text.split()) for t in turns), completion_tokens=7)
        return Answer(text=said, agent=self.name, seconds=self.delay, usage=usage, bytes={f"wifi-{self.name}": 100})

    async def stream(self, messages: Any, **how: Any) -> AsyncIterator[Delta | Answer]:
        answer = await self.ask(messages, **how)
        for word in answer.text.split(" "):
            yield Delta(text=word + " ")
        yield answer

    @property
    def heard(self) -> str:
        """The last text it was asked."""
        return self.asked[-1][-1].text


DEAD = AgentDiedError("its process is gone")


def hub(select: Play = "math, code", merge: Play = "the joint answer", alone: Play = "the server's own", **how: Any):
    """A server that plays its three roles, told apart by the prompt."""

    def play(turns: tuple[Message, ...]) -> Any:
        text = turns[-1].text
        role: Play = select if "\n\nAssistants:\n" in text else merge if "\n\nAnswers:\n" in text else alone
        return role(turns) if callable(role) else role

    return Puppet("hub", play, **how)


def team(**plays: Play) -> list[Puppet]:
    """Devices with descriptions of their own; ``plays`` replace what some of them say."""
    abouts = {
        "math": "arithmetic and word problems with numbers",
        "code": "tracing small programs in Python",
        "bio": "animals, plants and cells",
        "verse": "poems, rhymes and stories",
        "geo": "rivers, mountains and capitals of countries",
    }

    def device(name: str, about: str) -> Puppet:
        def play(turns: tuple[Message, ...]) -> str:
            return f"{name} revised" if "The joint answer is" in turns[-1].text else f"{name} first"

        return Puppet(name, plays.get(name, play), about=about)

    return [device(name, about) for name, about in abouts.items()]


def ask(text: str = "What is 2+2?") -> dict[str, Any]:
    """A graph's input."""
    return {"messages": [("user", text)]}


def notes(state: Any, step: str) -> str:
    """The notes of one step of a trace."""
    return " | ".join(r["note"] for r in state["trace"] if r["step"] == step)


class Cast:
    """The makers above as one fixture."""

    Puppet, DEAD = Puppet, DEAD
    hub, team, ask, notes = staticmethod(hub), staticmethod(team), staticmethod(ask), staticmethod(notes)


@pytest.fixture
def cast() -> type[Cast]:
    return Cast


@pytest.fixture
def png() -> Image:
    return Image(b"\x89PNG\r\n\x1a\nrest")
