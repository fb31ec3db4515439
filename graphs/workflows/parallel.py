"""Two models side by side (AI Flow: Perspectives, Scenarios, and Approaches, IV-B2) as a LangGraph graph.

An encoder sees an image once; a near and a far decoder measure depth from its features at the same time on nodes of
their own; fusion joins their maps. Where one decoder is missing the other's depth is the result, and the state says so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from aiflow.agents.diffusion.crew import Crew, own
from aiflow.agents.diffusion.line import Held, Line
from aiflow.errors import AgentError, InputError, MessageError, QuorumError
from aiflow.graphs.blocks.node import Update, node
from aiflow.graphs.workflows.diffusion import Common, Handle, account, begin, message, resume

Branch = Literal["near", "far"]
Anchor = float | Literal["auto", "pool"]
FIRST = 10.0
"""Anchor, in metres, of the first of two passes."""


class Parallel(Common, total=False):
    """A run. The input is the image, in the run's context; ``anchor`` overrides the builder's."""

    anchor: Anchor
    anchors: list[float]  # of this pass
    passes: int  # begun
    encoder: str  # fingerprint, for the second pass
    features: Handle
    near: Handle | None  # maps; None: the decoder is missing
    far: Handle | None
    used: list[Branch]  # the decoders that took part


def parallel(
    encoder: Any,
    near: Any,
    far: Any,
    fusion: Any = None,
    *,
    anchor: Anchor = "pool",
    dtype: Literal["f4", "f2"] = "f4",
    deadline: float | None = 60.0,
    grace: float | None = None,
    at: str | None = None,
    deliver: bool = True,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    name: str = "parallel",
) -> CompiledStateGraph[Parallel, Any, Parallel, Parallel]:
    """Builds ``encode -> near | far -> fuse``; run it by ``graph.ainvoke({}, context={"image": pixels})``.

    ``pixels``: (height, width, 3) uint8, or a PIL image. Bring the depth with ``aiflow.graphs.fetch(state, cluster)``.

    Args:
        encoder: An agent of model ``aiflow:depth#encoder``, or replicas of it, which are asked in turn.
        near: The same of ``aiflow:depth#near``.
        far: The same of ``aiflow:depth#far``.
        fusion: The same of ``aiflow:depth#fusion``; None: the asker fuses.
        anchor: Metres, ``"pool"`` (all anchors of the training) or ``"auto"`` (a second pass from where the first led).
        dtype: Of the features on the links; ``"f2"`` halves the bytes.
        deadline: Seconds for each call, links included.
        grace: Seconds for each call of a decoder or of the fusion; None: ``deadline``.
        at: The node that has the image; None: the encoder's.
        deliver: Bring the result to the asker's node at the end; False: it stays with its agent until it is fetched.
        checkpointer: As for ``StateGraph.compile``.

    Raises InputError, TopologyError here; from a run InputError for input that cannot be used, MessageError for models
    that do not belong together, QuorumError without both decoders, AgentError without an encoder. A missing decoder is
    marked: ``used``, ``marks``.
    """
    _anchors(anchor)
    if dtype not in ("f4", "f2"):
        raise InputError(f"dtype={dtype!r} is unknown; use 'f4' or 'f2'.")
    parts = {"encoder": ("encoder", encoder), "near": ("near", near), "far": ("far", far)}
    if fusion is not None:
        parts["fusion"] = ("fusion", fusion)
    steps = _Steps(Crew("depth", parts, at=at, deadline=deadline, grace=grace), anchor, dtype, deliver)
    graph: StateGraph[Parallel, Any, Parallel, Parallel] = StateGraph(Parallel)
    graph.add_node("encode", node(steps.encode))
    graph.add_node("near", node(steps.near))
    graph.add_node("far", node(steps.far))
    graph.add_node("fuse", node(steps.fuse))
    graph.add_edge(START, "encode")
    graph.add_edge("encode", "near")
    graph.add_edge("encode", "far")
    graph.add_edge(["near", "far"], "fuse")
    graph.add_conditional_edges("fuse", Next(), ["near", "far", END])
    return graph.compile(checkpointer, name=name)


class _Steps:
    """The nodes: state in, update out."""

    def __init__(self, crew: Crew, anchor: Anchor, dtype: Literal["f4", "f2"], deliver: bool) -> None:
        self.crew, self.anchor, self.dtype, self.deliver = crew, anchor, dtype, deliver
        self._own: Any = None

    async def encode(self, state: Parallel) -> Update:
        """Features of the image; they stay with the encoder until the decoders have them."""
        line, anchors = begin(self.crew, state), _anchors(state.get("anchor") or self.anchor)
        held = await self._features(line, anchors)
        return account(line, features=held.handle(), anchors=anchors, passes=1)

    async def near(self, state: Parallel) -> Update:
        """The near decoder's maps, if they come."""
        return await self._branch(state, "near")

    async def far(self, state: Parallel) -> Update:
        """The far decoder's maps, if they come."""
        return await self._branch(state, "far")

    async def fuse(self, state: Parallel) -> Update:
        """Depth from the maps that came; with ``anchor="auto"`` the first time the anchor of the second pass."""
        from aiflow.diffusion.depth.wire import Fuse
        from aiflow.diffusion.messages import encode

        line = resume(self.crew, state)
        found = await asyncio.gather(*(self._maps(line, state, name) for name in ("near", "far")))
        attached = {name: held for name, held in zip(("near", "far"), found, strict=True) if held is not None}
        if not attached:
            raise QuorumError(f"neither decoder answered: {'; '.join(line.ledger.marks)}")
        again = state["passes"] == 1 and (state.get("anchor") or self.anchor) == "auto"
        asked = encode(message(Fuse, request=line.request))
        held = await line.call(self._fusion(), asked, attached=attached, bring=again, deadline=self.crew.grace)
        if self.deliver and not again:
            await line.deliver(held)
        update = account(line, result=held.handle(), used=[*attached])
        return update | (_advised(held) | {"passes": 2} if again else {"passes": 3})

    async def _maps(self, line: Line, state: Parallel, branch: Branch) -> Held | None:
        """What a decoder holds, ready to leave its node."""
        if (handle := state.get(branch)) is None:
            return None
        try:
            return await line.lift(line.knows(self.crew.agents, Held.of(handle)))
        except AgentError as error:
            self._without(line, branch, error)
            return None

    def _without(self, line: Line, branch: Branch, error: AgentError) -> None:
        line.mark(error.agent, f"{type(error).__name__}: {error}; depth without the {branch} decoder")

    async def _branch(self, state: Parallel, branch: Branch) -> Update:
        line, team = resume(self.crew, state), self.crew.teams[branch]
        if state["passes"] == 2 and state.get(branch) is None:
            return {branch: None}
        held = line.knows(self.crew.agents, Held.of(state["features"]))
        try:
            if state["passes"] == 2:
                held = await self._again(line, branch, state)
            else:
                held = await line.call(team, held, deadline=self.crew.grace)
        except AgentError as error:
            if error.agent not in [agent.name for agent in team]:
                raise
            self._without(line, branch, error)
            return {branch: None}
        return {branch: held.handle()}

    async def _again(self, line: Line, branch: Branch, state: Parallel) -> Held:
        """The same features under the anchors of the second pass."""
        from aiflow.diffusion.depth.wire import Again
        from aiflow.diffusion.messages import encode

        asked = message(Again, request=line.request, anchors=state["anchors"], model=state["encoder"])
        try:
            return await line.call(self.crew.teams[branch], encode(asked), deadline=self.crew.grace)
        except MessageError as error:
            line.mark(branch, f"{error}; the features were sent again")
            features = await self._features(line, state["anchors"])
            return await line.call(self.crew.teams[branch], features, deadline=self.crew.grace)

    async def _features(self, line: Line, anchors: list[float]) -> Held:
        from aiflow.diffusion.depth.wire import Picture
        from aiflow.diffusion.messages import encode

        asked = message(Picture, request=line.request, image=_image(), anchors=anchors, dtype=self.dtype)
        return await line.call(self.crew.teams["encoder"], encode(asked))

    def _fusion(self) -> list[Any]:
        """Who fuses: those who were given for it, and at last the asker."""
        if self._own is None:
            from aiflow.diffusion.depth.party import Fusion

            self._own = own(Fusion(), self.crew, "fusion")
        return [*self.crew.teams.get("fusion", []), self._own]


class Next(Runnable[Any, list[str]]):
    """Where a run goes after fusion. LangGraph calls functions in threads, of which simulated time knows nothing."""

    name = "next"

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG002
        """The next nodes."""
        return ["near", "far"] if input["passes"] == 2 else [END]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[str]:
        """The same."""
        return self.invoke(input, config, **kwargs)


def _anchors(anchor: Any) -> list[float]:
    """The anchors of the first pass. Raises InputError."""
    if anchor == "pool":
        from aiflow.diffusion.depth.representation import ANCHORS

        return list(ANCHORS)
    if anchor == "auto":
        return [FIRST]
    if isinstance(anchor, bool) or not isinstance(anchor, int | float) or not 0.05 <= anchor <= 1000:
        raise InputError(f"anchor={anchor!r} is not usable; give 0.05 to 1000 metres, 'pool' or 'auto'.")
    return [float(anchor)]


def _image() -> Any:
    """The image of the run's context. Raises InputError."""
    import numpy as np

    context: Any = get_runtime().context
    image = context.get("image") if isinstance(context, Mapping) else None
    if image is None:
        raise InputError('the run has no image; give it as graph.ainvoke({}, context={"image": pixels}).')
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InputError(f"the image has shape {pixels.shape} and dtype {pixels.dtype}; give (H, W, 3) uint8.")
    return np.ascontiguousarray(pixels)


def _advised(held: Held) -> Update:
    """What the first pass says about the second."""
    from aiflow.diffusion.depth.wire import Depth
    from aiflow.diffusion.messages import decode

    assert held.data is not None
    depth = decode(held.data, Depth)
    return {"anchors": [depth.advised], "encoder": depth.model}
