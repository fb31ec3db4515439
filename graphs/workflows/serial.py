"""Two models one after the other (AI Flow: Perspectives, Scenarios, and Approaches, IV-B1) as a LangGraph graph.

A composer makes the motion of two people from text, a refiner on another node coordinates them: once, or at every
denoising step. Without the refiner the composer's motion is the result, and the state says so.
"""

from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from aiflow.agents.diffusion.crew import Crew
from aiflow.agents.diffusion.line import Held, Line
from aiflow.errors import AgentError, InputError
from aiflow.graphs.blocks.node import Update, node
from aiflow.graphs.workflows.diffusion import Common, Handle, accept, account, begin, message, resume

Refine = Literal["none", "post", "loop"]


class Serial(Common, total=False):
    """A run. The input is ``prompt`` and ``segments``; what is left out has the composer's defaults."""

    prompt: str
    segments: list[tuple[str, int]]  # ("solo" or "interaction", first frame); the first starts at 0
    frames: int
    seed: int
    steps: int  # of denoising
    guidance: float
    estimate: Handle  # the composer's, on its way to the refiner
    refined: bool  # False: the composer's motion alone
    reason: str  # why not


def serial(
    composer: Any,
    refiner: Any = None,
    *,
    refine: Refine = "post",
    deadline: float | None = 60.0,
    grace: float | None = None,
    at: str | None = None,
    deliver: bool = True,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    name: str = "serial",
) -> CompiledStateGraph[Serial, None, Serial, Serial]:
    """Builds ``compose -> refine`` from ``{"prompt": ..., "segments": [["solo", 0], ["interaction", 20]]}``.

    Bring the motion with ``aiflow.graphs.fetch(state, cluster)``. The ``custom`` stream tells of denoising steps.

    Args:
        composer: An agent of model ``aiflow:motion#ins``, or replicas of it, which are asked in turn.
        refiner: The same of ``aiflow:motion#rec``; not needed with ``refine="none"``.
        refine: ``"post"``: the finished motion crosses once. ``"loop"``: an estimate crosses at every step.
        deadline: Seconds for each call, links included.
        grace: Seconds for each call of the refiner; None: ``deadline``.
        at: The node that the request comes from; None: the composer's.
        deliver: Bring the result to the asker's node at the end; False: it stays with its agent until it is fetched.
        checkpointer: As for ``StateGraph.compile``.

    Raises InputError, TopologyError here; from a run InputError for input that cannot be used, MessageError for models
    that do not belong together, AgentError without a composer. A missing refiner is marked: ``refined``, ``reason``.
    """
    if refine not in ("none", "post", "loop"):
        raise InputError(f"refine={refine!r} is unknown; use 'none', 'post' or 'loop'.")
    if refine != "none" and refiner is None:
        raise InputError(f"refine={refine!r} needs a refiner; give an agent of model 'aiflow:motion#rec'.")
    parts = {"composer": ("ins", composer)} | ({} if refiner is None else {"refiner": ("rec", refiner)})
    steps = _Steps(Crew("motion", parts, at=at, deadline=deadline, grace=grace), refine, deliver)
    graph: StateGraph[Serial, None, Serial, Serial] = StateGraph(Serial)
    graph.add_node("compose", node(steps.compose))
    graph.add_edge(START, "compose")
    if refine == "none":
        graph.add_edge("compose", END)
    else:
        graph.add_node("refine", node(steps.refine))
        graph.add_edge("compose", "refine")
        graph.add_edge("refine", END)
    return graph.compile(checkpointer, name=name)


class _Steps:
    """The nodes: state in, update out."""

    def __init__(self, crew: Crew, refine: Refine, deliver: bool) -> None:
        self.crew, self.how, self.deliver = crew, refine, deliver

    async def compose(self, state: Serial) -> Update:
        """The composer's motion, or its first estimate."""
        line = begin(self.crew, state)
        held = await self._compose(line, state, self.how)
        if self.how == "none":
            return await self._end(line, held, refined=False, reason="")
        return account(line, estimate=held.handle())

    async def refine(self, state: Serial) -> Update:
        """The refiner's motion; the composer's if the refiner cannot be had."""
        line = resume(self.crew, state)
        held = line.knows(self.crew.agents, Held.of(state["estimate"]))
        try:
            refined = await (self._once(line, held) if self.how == "post" else self._loop(line, held))
            return await self._end(line, refined, refined=True, reason="")
        except AgentError as error:
            if error.agent not in [agent.name for agent in self.crew.teams["refiner"]]:
                raise
            reason = f"{type(error).__name__}: {error}"
            line.mark(error.agent, f"{reason}; the composer's motion is not refined")
            if self.how == "loop":
                held = await self._compose(line, state, "none")
            return await self._end(line, held, refined=False, reason=reason)

    async def _end(self, line: Line, held: Held, *, refined: bool, reason: str) -> Update:
        if self.deliver:
            await line.deliver(held)
        return account(line, result=held.handle(), refined=refined, reason=reason)

    async def _once(self, line: Line, held: Held) -> Held:
        return await line.call(self.crew.teams["refiner"], held, deadline=self.crew.grace)

    async def _loop(self, line: Line, held: Held) -> Held:
        done = 0
        while held.kind == "motion.Estimate":
            refined = await self._once(line, held)
            held = await line.call(self.crew.teams["composer"], refined)
            done += 1
            line.tell({"step": done, "node": held.node, "agent": held.agent})
        return held

    async def _compose(self, line: Line, state: Serial, refine: Refine) -> Held:
        from aiflow.diffusion.messages import encode
        from aiflow.diffusion.motion.party import Compose
        from aiflow.diffusion.motion.scene import FRAMES

        segments = state.get("segments")
        if not isinstance(segments, list) or not all(isinstance(s, list | tuple) and len(s) == 2 for s in segments):
            raise InputError(f"segments={segments!r} cannot be used; give pairs like ['solo', 0], ['interaction', 20].")
        said = message(
            Compose,
            request=line.request,
            prompt=state.get("prompt"),
            kinds=[kind for kind, _ in segments],
            starts=[start for _, start in segments],
            refine=refine,
            **{"frames": FRAMES} | accept(state, ("frames", "seed", "steps", "guidance")),
        )
        return await line.call(self.crew.teams["composer"], encode(said))


def motion(data: bytes) -> Any:
    """The motion in a result of the graph, which is a Motion, a Refined or an unrefined Estimate."""
    from aiflow.diffusion.messages import decode
    from aiflow.diffusion.motion.party import Estimate, Motion, Refined

    found: Any = decode(data, Motion, Refined, Estimate)
    if isinstance(found, Motion):
        return found
    refined = isinstance(found, Refined)
    return Motion(
        request=found.request,
        u=found.u_hat,
        frames=found.frames,
        refine=found.refine if refined else "none",
        model=found.model,
        refiner=found.refiner if isinstance(found, Refined) else "",
    )
