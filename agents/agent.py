"""An agent: a named model on a node. Asks travel to it over the network as messages, and answers come back.

It joins a host (where the worker lives) and the network (what lies between); it knows no model and no Ray.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from aiflow import aio, tracing
from aiflow.agents import spans, wire
from aiflow.agents.deadline import Deadline
from aiflow.agents.host import Host
from aiflow.agents.options import merge
from aiflow.agents.spent import Purse, Spent
from aiflow.agents.tally import Tally
from aiflow.agents.worker import Totals
from aiflow.cluster.network import Channel, Network
from aiflow.errors import AgentError, BackendError, DeadlineError, MessageError
from aiflow.types import Answer, Delta, Options, conversation

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.decoding.events import Decoded, Event
    from aiflow.agents.decoding.wire import Card
    from aiflow.agents.split.events import Event as SplitEvent
    from aiflow.agents.split.events import Split
    from aiflow.agents.split.how import How
    from aiflow.agents.tofc.events import Looked

LOAD_SECONDS = 900.0
T = TypeVar("T")
A = TypeVar("A", bound=Answer)


class Agent:
    """A model on a node that can be asked (``aiflow.agents.interface.Asks``). ``Deployment.agent`` makes them.

    ``about`` says what it is good at; ``options`` are its defaults, which a call may override in part by a dict or
    as a whole by Options. Cancelling a call or passing its deadline ends the generation.
    """

    def __init__(
        self, name: str, host: Host, network: Network, *, node: str, about: str = "", options: Options | None = None
    ) -> None:
        self.name, self.node, self.about = name, node, about
        self.options = options or Options()
        self.network = network
        self.abilities: list[Callable[[Agent], BaseTool]] = []
        self.host = host
        self.card: Card | None = None  # what others must know to decode with it, once somebody asked
        self.facts: dict[str, Any] = {}  # what parts of its worker have said of themselves
        self.tally = Tally()
        self._purse = Purse()

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, node={self.node!r})"

    async def ready(self, deadline: float = LOAD_SECONDS) -> None:
        """Waits until the model is loaded. Raises what loading raised (UnknownModelError, CredentialError...),
        AgentDiedError, or DeadlineError after ``deadline`` seconds.
        """
        with self._named():
            async with Deadline(deadline, self.network.clock, self.name, "load").limit():
                await self.host.ready()

    @spans.call("ask")
    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """Sends the conversation from node ``sender`` (None: the agent's own) and brings back the whole answer.

        ``deadline`` in seconds covers links, queues, restarts and the model, but not the wait for its first loading.
        ``Answer.bytes`` are the lengths of the messages that crossed each link; ``Answer.seconds`` the wait.
        Raises InputError, MessageTooLargeError, TopologyError (before anything is sent), AgentDiedError, DeadlineError,
        BackendError.
        """
        request, payload = self._encode(messages, options)
        sender = self._sender(sender)
        if self.host.starting:
            await self.ready()
        limit, started = Deadline(deadline, self.network.clock, self.name), self.network.clock.now()
        with self._named(), self._cancelling(request):
            async with limit.limit():
                there = await self.network.send(sender, self.node, len(payload))
                reply = await self.host.ask(payload)
                back = await self.network.send(self.node, sender, len(reply))
            answer = wire.decode_reply(reply, request)
        if not isinstance(answer, Answer):
            raise MessageError(f"agent {self.name!r} ended its reply without an answer")
        return self._signed(answer, started, there.bytes, back.bytes)

    @spans.stream("ask")
    async def stream(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Delta | Answer]:
        """Like ``ask``, in pieces: each Delta is a message on the link, in order; the Answer comes last."""
        request, payload = self._encode(messages, options)
        sender = self._sender(sender)
        if self.host.starting:
            await self.ready()
        limit, started = Deadline(deadline, self.network.clock, self.name), self.network.clock.now()
        channel: Channel[bytes] = self.network.channel(self.node, sender)
        sent: dict[str, int] = {}
        pump = asyncio.create_task(self._pump(payload, sender, channel, sent))
        heard: list[str] = []
        with self._named(), self._cancelling(request):
            try:
                while True:
                    async with limit.limit():
                        message = await anext(channel, None)
                        if message is None:
                            await pump  # raises why it ended early
                            raise BackendError("the reply ended without an answer")
                    reply = wire.decode_reply(message, request, "".join(heard))
                    if isinstance(reply, Answer):
                        yield self._signed(reply, started, sent, channel.bytes)
                        return
                    if reply.index != len(heard):
                        raise MessageError(f"piece {reply.index} of a reply came when {len(heard)} was due")
                    heard.append(reply.text)
                    yield Delta(text=reply.text)
            finally:
                pump.cancel()
                await channel.cancel()

    async def speculative_decode(self, messages: Any, *, judges: "Sequence[Agent]", **arguments: Any) -> "Decoded":
        """Like ``speculative_stream``, as one answer."""
        async with aclosing(self.speculative_stream(messages, judges=judges, provisional=False, **arguments)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise BackendError("collaborative decoding ended without an answer")

    @spans.stream("decode", counted=True)
    async def speculative_stream(
        self,
        messages: Any,
        *,
        judges: "Sequence[Agent]",
        options: Options | Mapping[str, Any] | None = None,
        mode: str | None = None,
        sender: str | None = None,
        deadline: float | None = None,
        fallback: bool = False,
        patience: float = 60.0,
        provisional: bool = True,
    ) -> "AsyncGenerator[Event]":
        """Drafts while ``judges`` (the edge and the cloud, or one of them) judge: the text is the last judge's.

        Yields ``Provisional`` (may change; not with ``provisional=False``), ``Final`` pieces that never change, and the
        ``Decoded`` answer last (`agents.decoding.events`). ``mode``: "greedy" at temperature 0; else "shared", whose
        text depends on the last judge and the seed alone, or "soft", which accepts more and keeps its law only.
        ``sender``, ``deadline`` as in ``ask``. A judge whose process dies is waited for ``patience`` seconds and opened
        anew. An edge that does not come back is left out; without the last judge the tier below goes on alone with
        ``fallback``, which ``committed_by`` says, and else AgentDiedError is raised (DeadlineError for a silent one).
        Raises InputError (also for models with different tokenizers), TopologyError, AgentDiedError, DeadlineError,
        BackendError.
        """
        from aiflow.agents.decoding.drive import decode

        async with aclosing(
            decode(
                self,
                messages,
                judges,
                options=options,
                mode=mode,
                sender=sender,
                deadline=deadline,
                fallback=fallback,
                patience=patience,
                provisional=provisional,
            )
        ) as events:
            async for event in events:
                yield event

    async def split_infer(self, messages: Any, *, server: "Agent", **how: "Unpack[How]") -> "Split":
        """Like ``split_stream``, as one answer."""
        quiet: How = {**how, "provisional": False}
        async with aclosing(self.split_stream(messages, server=server, **quiet)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise BackendError("split inference ended without an answer")

    @spans.stream("split", counted=True)
    async def split_stream(
        self, messages: Any, *, server: "Agent", **how: "Unpack[How]"
    ) -> "AsyncGenerator[SplitEvent]":
        """Answers at once from the first blocks while ``server`` goes on from their output: the text is the server's.

        This agent is the device: a member of a family (``FOLDER#2``), or the first ``exit`` blocks of any model that
        the server has as well; without a branch it waits for the server's tokens. Greedy only; images are looked at
        here. Yields ``Provisional`` text, ``TakenBack`` where the server says something else, ``Final`` pieces that
        never change, and the ``Split`` answer last (`agents.split.events`). Further arguments: `agents.split.how.How`.
        Raises InputError (also for agents of different families), TopologyError, AgentDiedError, DeadlineError,
        BackendError.
        """
        from aiflow.agents.split.drive import split

        async with aclosing(split(self, messages, server, how)) as events:
            async for event in events:
                yield event

    @spans.call("tofc", counted=True)
    async def tofc_answer(
        self,
        image: Any,
        question: Any,
        *,
        server: "Agent",
        tokens: int | None = None,
        level: int | None = None,
        deadline: float | None = None,
        options: Options | Mapping[str, Any] | None = None,
        sender: str | None = None,
    ) -> "Looked":
        """Sees ``image`` and sends ``server`` a few quantised features of it, on which that answers ``question``.

        Both have the same vision language model with its feature codec; this agent may have a member of its family.
        ``image``: an ``aiflow.Image``, a file's bytes or path, a data URL, a PIL image, or uint8 pixels (height, width,
        3); it belongs to the last turn of ``question``, a conversation as for ``ask``. ``tokens`` are the features to
        send, ``level`` their quality; None: the best that the link, as measured, should carry by the deadline.
        ``deadline``, ``options``, ``sender`` as in ``ask``; the first meeting of the agents is not under the deadline.
        Raises InputError (also for different codecs), UnsupportedModelError for a model that sees nothing, WeightsError
        for one without a codec, TopologyError, AgentDiedError, DeadlineError, BackendError.
        """
        from aiflow.agents.tofc.drive import look

        return await look(
            self, image, question, server, tokens=tokens, level=level, deadline=deadline, options=options, sender=sender
        )

    async def _pump(self, payload: bytes, sender: str, channel: Channel[bytes], sent: dict[str, int]) -> None:
        try:
            sent.update((await self.network.send(sender, self.node, len(payload))).bytes)
            async with aclosing(self.host.stream(payload)) as messages:
                async for message in messages:
                    channel.put(message, len(message))
        finally:
            channel.close()

    @property
    def spent(self) -> Spent:
        """What its answers have cost so far, as this process saw it: tokens, seconds, bytes by link."""
        return self._purse.total()

    async def totals(self) -> Totals:
        """What the agent's worker did since its process started: requests, tokens, seconds, errors."""
        with self._named():
            return await self.host.totals()

    async def close(self) -> None:
        """Ends the agent's process; later calls raise AgentDiedError."""
        await self.host.close()

    def ask_sync(self, messages: Any, **arguments: Any) -> Answer:
        """``ask`` for synchronous code (arguments as there)."""
        return aio.run(self.ask(messages, **arguments))

    def stream_sync(self, messages: Any, **arguments: Any) -> Iterator[Delta | Answer]:
        """``stream`` for synchronous code (arguments as there)."""
        return stepped(self.stream(messages, **arguments))

    def speculative_decode_sync(self, messages: Any, **arguments: Any) -> "Decoded":
        """``speculative_decode`` for synchronous code (arguments as there)."""
        return aio.run(self.speculative_decode(messages, **arguments))

    def speculative_stream_sync(self, messages: Any, **arguments: Any) -> "Iterator[Event]":
        """``speculative_stream`` for synchronous code (arguments as there)."""
        return stepped(self.speculative_stream(messages, **arguments))

    def split_infer_sync(self, messages: Any, *, server: "Agent", **how: "Unpack[How]") -> "Split":
        """``split_infer`` for synchronous code (arguments as there)."""
        return aio.run(self.split_infer(messages, server=server, **how))

    def split_stream_sync(self, messages: Any, *, server: "Agent", **how: "Unpack[How]") -> "Iterator[SplitEvent]":
        """``split_stream`` for synchronous code (arguments as there)."""
        return stepped(self.split_stream(messages, server=server, **how))

    def tofc_answer_sync(self, image: Any, question: Any, **arguments: Any) -> "Looked":
        """``tofc_answer`` for synchronous code (arguments as there)."""
        return aio.run(self.tofc_answer(image, question, **arguments))

    def tools(self, sender: str | None = None) -> "list[BaseTool]":
        """Its abilities as LangChain tools, asked from node ``sender``: ``ask_<name>`` and what others added."""
        from aiflow.agents.tools import tools

        return tools(self, sender)

    def _encode(self, messages: Any, options: Options | Mapping[str, Any] | None) -> tuple[str, bytes]:
        request = secrets.token_hex(8)
        turns = conversation(messages)
        return request, wire.encode_ask(request, turns, merge(self.options, options), tracing.traceparent())

    def _sender(self, sender: str | None) -> str:
        source = self.node if sender is None else sender
        self.network.route(source, self.node)  # raises TopologyError
        return source

    def _signed(self, answer: Answer, started: float, there: Mapping[str, int], back: Mapping[str, int]) -> Answer:
        links = {link: there.get(link, 0) + back.get(link, 0) for link in {**there, **back}}
        signed = replace(
            answer, agent=self.name, node=self.node, seconds=self.network.clock.now() - started, bytes=links
        )
        return self.record(signed)

    def record(self, answer: A) -> A:
        """Counts an answer in ``spent``."""
        self._purse.add(answer)
        return answer

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except AgentError as error:
            error.agent = self.name
            raise

    @contextmanager
    def _cancelling(self, request: str) -> Iterator[None]:
        try:
            with self.tally:
                yield
        except (asyncio.CancelledError, GeneratorExit, DeadlineError, MessageError):
            self.host.cancel(request)
            raise


def stepped(stream: AsyncGenerator[T]) -> Iterator[T]:
    """An asynchronous stream for synchronous code; it is closed when the iterator is."""
    try:
        while (item := aio.run(anext(stream, None))) is not None:
            yield item
    finally:
        aio.run(stream.aclose())
