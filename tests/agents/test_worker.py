"""Workers: one terminal message per question, exact totals under concurrency, cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from aiflow.agents import wire
from aiflow.agents.backends import create
from aiflow.agents.worker import Totals, Worker
from aiflow.errors import BackendError, MessageError, TruncatedError
from aiflow.types import Answer, Delta, Message, Options, Usage


class Fake:
    """Yields given items; raises those that are exceptions; waits at None."""

    def __init__(self, *items: Any) -> None:
        self.items, self.closed = items, 0

    async def stream(self, *_: Any) -> AsyncIterator[Any]:
        try:
            for item in self.items:
                if item is None:
                    await asyncio.Event().wait()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


def ask(question: str, request: str = "r1", **options: Any) -> bytes:
    return wire.encode_ask(request, [Message("user", question)], Options(**options))


async def replies(worker: Worker, payload: bytes, deltas: bool = True) -> list[bytes]:
    return [message async for message in worker.handle(payload, deltas=deltas)]


async def test_deltas_then_one_answer() -> None:
    worker = Worker(create("scripted:echo"))
    *deltas, last = await replies(worker, ask("one two three"))
    pieces = [wire.decode_reply(message, "r1") for message in deltas]
    assert pieces == [wire.Piece(index=i, text=t) for i, t in enumerate(["one", " two", " three"])]
    answer = wire.decode_reply(last, "r1", "one two three")
    assert isinstance(answer, Answer)
    assert (answer.text, answer.usage.completion_tokens, answer.usage.requests) == ("one two three", 3, 1)
    (whole,) = await replies(worker, ask("one two three"), deltas=False)
    assert wire.decode_reply(whole, "r1").text == "one two three"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("items", "error", "match"),
    [
        ([BackendError("no")], BackendError, "no"),
        ([Delta(text="a"), ZeroDivisionError("oops")], BackendError, "ZeroDivisionError: oops"),
        ([b"junk"], BackendError, "bytes instead of text"),
        ([Delta(text="a")], BackendError, "NoneType instead of text"),
        ([Answer(text="x" * 40_000_000)], wire.ERRORS["MessageTooLargeError"], "limit"),
    ],
)
async def test_failures_are_one_message(items: list[Any], error: type[Exception], match: str) -> None:
    worker = Worker(Fake(*items))
    last = (await replies(worker, ask("?")))[-1]
    with pytest.raises(error, match=match):
        wire.decode_reply(last, "r1")
    assert worker.totals() == Totals(asked=1, errors=1)


async def test_refused_bytes_change_nothing() -> None:
    worker = Worker(Fake(None))
    with pytest.raises(TruncatedError):
        wire.decode_reply((await replies(worker, ask("?")[:-1]))[0], "r1")
    running = asyncio.create_task(replies(worker, ask("?")))
    await asyncio.sleep(0)
    with pytest.raises(MessageError, match="already running"):
        wire.decode_reply((await replies(worker, ask("?")))[0], "r1")
    assert worker.totals() == Totals(asked=1, in_flight=1)
    worker.cancel("r1")
    await running


async def test_cancel_gives_what_was_written() -> None:
    backend = Fake(Delta(text="so "), Delta(text="far"), None)
    worker = Worker(backend)
    running = asyncio.create_task(replies(worker, ask("?"), False))
    await asyncio.sleep(0.01)
    assert not worker.cancel("other")
    assert worker.cancel("r1")
    answer = wire.decode_reply((await running)[0], "r1")
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish, backend.closed) == ("so far", "cancelled", 1)
    totals = worker.totals()
    assert (totals.cancelled, totals.in_flight, totals.usage.completion_tokens) == (1, 0, 2)


async def test_closing_the_iterator_stops_the_backend() -> None:
    backend = Fake(Delta(text="a"), Delta(text="b"), None)
    worker = Worker(backend)
    async with aclosing(worker.handle(ask("?"))) as messages:
        await anext(messages)
    assert backend.closed == 1
    assert worker.totals() == Totals(asked=1, cancelled=1)


async def test_cancelled_task_stops_the_backend() -> None:
    backend = Fake(None)
    worker = Worker(backend)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(replies(worker, ask("?")), 0.02)
    assert (backend.closed, worker.totals()) == (1, Totals(asked=1, cancelled=1))


async def test_totals_are_exact_under_concurrency() -> None:
    worker = Worker(create("scripted:echo", token_delay=0.0005, fail="raise", fail_on="bad"))
    texts = [f"{'bad ' if i % 10 == 0 else ''}{'w ' * (i % 7 + 1)}" for i in range(200)]
    runs = [asyncio.create_task(replies(worker, ask(t, f"r{i}"), i % 2 == 0)) for i, t in enumerate(texts)]
    await asyncio.sleep(0.001)
    assert worker.totals().in_flight + worker.totals().errors == worker.totals().asked == 200
    usages, failed = [], 0
    for i, run in enumerate(runs):
        try:
            answer = wire.decode_reply((await run)[-1], f"r{i}")
        except BackendError:
            failed += 1
        else:
            assert isinstance(answer, Answer)
            usages.append(answer.usage)
    totals = worker.totals()
    assert (totals.asked, totals.answered, totals.errors, totals.in_flight) == (200, 180, failed, 0)
    assert totals.usage.completion_tokens == sum(i % 7 + 1 for i in range(200) if i % 10)
    assert totals.usage.seconds == pytest.approx(sum(u.seconds for u in usages))
    assert sum(usages, Usage()).requests == totals.usage.requests == 180
