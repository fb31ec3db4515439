"""Many models in a network (AI Flow: Perspectives, Scenarios, and Approaches, IV-B3) as a LangGraph graph.

A backbone makes a clip in several modalities at once; each modality is a node with its own encoder and decoder, and
gives its clip (a condition) or gets it made. A node that is missing becomes idle, is gone on without, or is restored
when it is back, and the state says so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from aiflow.agents.diffusion.crew import Crew
from aiflow.agents.diffusion.line import Held, Line
from aiflow.agents.diffusion.owner import Owner
from aiflow.agents.diffusion.plans import Cfg, Home, Lost, Name, Task
from aiflow.errors import AgentError, BackendError, InputError, QuorumError, suggest
from aiflow.graphs.blocks.node import Update, node
from aiflow.graphs.workflows.diffusion import Common, Handle, accept, account, begin, message, resume

PLANS: Mapping[str, type[Home]] = {"home": Home, "owner": Owner, "cfg": Cfg}
ROLES = ("generate", "condition", "idle")
TRIES = 3
"""How often a run is begun, at most, when backbones are lost."""


class Networked(Common, total=False):
    """A run. The input is ``prompt``; clips that are given are in the run's context, by modality."""

    prompt: str
    roles: dict[str, str]  # what each modality is to be; by default a condition if its clip is given, else generated
    seed: int
    steps: int  # of denoising
    guidance: float
    latents: dict[str, Handle]  # of the conditions that could be encoded
    tries: int  # how often it was begun
    roles_used: dict[str, str]  # what each modality was at the end
    stale: dict[str, int]  # steps that a generated modality went on without its node
    missing: list[str]  # modalities that were to be made, and of which there is no clip


def networked(
    backbone: Any,
    modalities: Mapping[str, Any],
    *,
    plan: Name = "home",
    staleness: int = 1,
    deadline: float | None = 60.0,
    grace: float | None = None,
    at: str | None = None,
    deliver: bool = True,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    name: str = "networked",
) -> CompiledStateGraph[Networked, Any, Networked, Networked]:
    """Builds ``conditions -> sample -> decode``; ``graph.ainvoke({"prompt": ...}, context={"depth": clip})``.

    A clip is (frames, 3, height, width) in [-1, 1]. Bring the clips that were made with
    ``aiflow.graphs.fetch(state, cluster)``. The ``custom`` stream tells of denoising steps.

    Args:
        backbone: An agent of model ``aiflow:video#backbone``, or replicas of it; with plan ``"cfg"`` two.
        modalities: By name (``"rgb"``...), an agent of model ``aiflow:video#rgb``..., or replicas of it.
        plan: ``"home"``: the backbone samples, clips' latents cross once. ``"owner"``: each generating node samples its
            own; two messages a step and node. ``"cfg"``: two backbones share the guidance.
        staleness: Steps that a silent generating node is gone on without, until it is idle (plan ``"owner"``).
        deadline: Seconds for each call, links included.
        grace: Seconds for each call of a modality's node; None: ``deadline``.
        at: The node that the request comes from; None: the backbone's.
        deliver: Bring the result to the asker's node at the end; False: it stays with its agent until it is fetched.
        checkpointer: As for ``StateGraph.compile``.

    Raises InputError, TopologyError here; from a run InputError for input that cannot be used, MessageError for models
    that do not belong together, AgentError without a backbone, QuorumError if nothing could be made. A missing modality
    is marked: ``roles_used``, ``stale``, ``missing``, ``marks``.
    """
    if plan not in PLANS:
        raise InputError(f"plan={plan!r} is unknown; {suggest(str(plan), list(PLANS))}")
    if not isinstance(modalities, Mapping) or not modalities:
        raise InputError(f"modalities={modalities!r} cannot be used; give agents by name, like {{'rgb': agent}}.")
    if isinstance(staleness, bool) or not isinstance(staleness, int) or staleness < 0:
        raise InputError(f"staleness={staleness!r} is not usable; give an int >= 0.")
    parts = {"backbone": ("backbone", backbone)} | {name: (str(name), agent) for name, agent in modalities.items()}
    crew = Crew("video", parts, at=at, deadline=deadline, grace=grace)
    if plan == "cfg" and len(crew.teams["backbone"]) != 2:
        raise InputError(f"plan='cfg' needs two backbones, got {len(crew.teams['backbone'])}; give a list of two.")
    steps = _Steps(crew, PLANS[plan], staleness, deliver)
    graph: StateGraph[Networked, Any, Networked, Networked] = StateGraph(Networked)
    graph.add_node("conditions", node(steps.conditions))
    graph.add_node("sample", node(steps.sample))
    graph.add_edge(START, "conditions")
    graph.add_edge("conditions", "sample")
    graph.add_edge("sample", END)
    return graph.compile(checkpointer, name=name)


class _Steps:
    """The nodes: state in, update out."""

    def __init__(self, crew: Crew, plan: type[Home], staleness: int, deliver: bool) -> None:
        self.crew, self.plan, self.staleness, self.deliver = crew, plan, staleness, deliver
        self.modalities = [name for name in crew.teams if name != "backbone"]

    async def conditions(self, state: Networked) -> Update:
        """Latents of the clips that are given; who cannot give them is idle."""
        line = begin(self.crew, state)
        task = self._task(line, state, _roles(self.modalities, state.get("roles"), _clips(self.modalities)), 0)
        given = await self._encoded(line, task)
        return account(line, roles=dict(task.roles), latents={name: one.handle() for name, one in given.items()})

    async def sample(self, state: Networked) -> Update:
        """All denoising steps and the clips; begun anew, on a replica if there is one, when a backbone is lost."""
        line = resume(self.crew, state)
        line.watch = False
        backbones, lost = self.crew.teams["backbone"], None
        for attempt in range(TRIES):
            task = self._task(line, state, state["roles"], attempt)
            if lost is None:
                known = {name: line.knows(self.crew.agents, Held.of(one)) for name, one in state["latents"].items()}
                given = {name: held for name, one in known.items() if (held := await self._lifted(line, name, one))}
            else:
                line.mark(lost.agent, f"{type(lost.error).__name__}: {lost.error}; the run is begun anew")
                given = await self._encoded(line, task)
            plan = self.plan(self.crew, line, task)
            turn = attempt % len(backbones)
            try:
                agent, end = await plan.sample([*backbones[turn:], *backbones[:turn]], given)
                clips = await self._delivered(line, await plan.collect(agent))
            except Lost as error:
                lost = error
                continue
            return self._update(line, task, end, clips, attempt + 1)
        assert lost is not None
        if isinstance(lost.error, AgentError):
            raise lost.error
        raise BackendError(f"backbone {lost.agent.name!r} has forgotten the run: {lost.error}", lost.agent.name)

    async def _delivered(self, line: Line, clips: Mapping[str, Held]) -> dict[str, Held]:
        """The clips that have reached the asker; all, if they are to stay where they are."""

        async def one(held: Held) -> bool:
            try:
                await line.deliver(held, deadline=self.crew.grace)
            except AgentError as error:
                line.mark(error.agent, f"{type(error).__name__}: {error}; its clip is lost")
                return False
            return True

        if not self.deliver:
            return dict(clips)
        there = await asyncio.gather(*(one(held) for held in clips.values()))
        return {name: held for (name, held), came in zip(clips.items(), there, strict=True) if came}

    def _update(self, line: Line, task: Task, end: Any, clips: Mapping[str, Held], tries: int) -> Update:
        missing = [name for name in task.generated if name not in clips]
        if missing and not clips:
            raise QuorumError(f"nothing could be made: {'; '.join(line.ledger.marks)}")
        return account(
            line,
            result={name: held.handle() for name, held in clips.items()},
            roles_used=dict(end.roles_used),
            stale={name: steps for name, steps in end.stale.items() if steps},
            missing=missing,
            tries=tries,
        )

    def _task(self, line: Line, state: Networked, roles: Mapping[str, str], attempt: int) -> Task:
        from aiflow.diffusion.video.wire import Start

        said = message(
            Start,
            request=f"{line.request}.{attempt}",
            model="",
            schedule="",
            prompt=state.get("prompt"),
            roles=dict(roles),
            shape=[],
            staleness=self.staleness,
            **accept(state, ("seed", "steps", "guidance")),
        )
        if not said.prompt.strip():
            raise InputError(f"prompt={said.prompt!r} is empty; say what is to be generated.")
        return Task(
            run=said.request,
            prompt=said.prompt,
            roles=dict(said.roles),
            seed=said.seed,
            steps=said.steps,
            guidance=said.guidance,
            staleness=said.staleness,
        )

    async def _encoded(self, line: Line, task: Task) -> dict[str, Held]:
        """The conditions' latents, ready to leave their nodes."""
        from aiflow.diffusion.messages import encode
        from aiflow.diffusion.video.wire import Encode

        clips = _clips(self.modalities)
        names = [name for name, role in task.roles.items() if role == "condition"]
        asks = [encode(message(Encode, request=task.run, clip=clips[name], steps=task.steps)) for name in names]

        async def one(name: str, ask: bytes) -> Held | None:
            try:
                held = await line.call(self.crew.teams[name], ask, deadline=self.crew.grace)
            except AgentError as error:
                self._absent(line, name, error)
                return None
            return await self._lifted(line, name, held)

        found = await asyncio.gather(*(one(name, ask) for name, ask in zip(names, asks, strict=True)))
        return {name: held for name, held in zip(names, found, strict=True) if held is not None}

    async def _lifted(self, line: Line, name: str, held: Held) -> Held | None:
        try:
            return await line.lift(held)
        except AgentError as error:
            self._absent(line, name, error)
            return None

    def _absent(self, line: Line, name: str, error: AgentError) -> None:
        line.mark(error.agent, f"{type(error).__name__}: {error}; the condition {name} is idle")


def _clips(modalities: list[str]) -> dict[str, Any]:
    """The clips of the run's context, by modality. Raises InputError."""
    import numpy as np

    context: Any = get_runtime().context or {}
    if not isinstance(context, Mapping):
        raise InputError("the run's context must hold clips by modality, like {'depth': clip}.")
    clips = {}
    for name, clip in context.items():
        if name not in modalities:
            raise InputError(f"there is a clip for {name!r}, which no agent is; {suggest(str(name), modalities)}")
        try:
            array = np.asarray(clip, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"the clip for {name!r} cannot be read as numbers: {error}.") from error
        if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape:
            raise InputError(f"the clip for {name!r} has the shape {array.shape}; (frames, 3, H, W) is expected.")
        if not np.isfinite(array).all() or np.abs(array).max() > 1 + 1e-3:
            raise InputError(f"the clip for {name!r} must have finite values from -1 to 1.")
        clips[name] = np.ascontiguousarray(array)
    return clips


def _roles(modalities: list[str], said: Any, clips: Mapping[str, Any]) -> dict[str, str]:
    """The role of every modality. Raises InputError."""
    said = {} if said is None else said
    if not isinstance(said, Mapping):
        raise InputError(f"roles={said!r} cannot be used; give roles by modality, like {{'depth': 'condition'}}.")
    for name, role in said.items():
        if name not in modalities:
            raise InputError(f"roles names {name!r}, which no agent is; {suggest(str(name), modalities)}")
        if role not in ROLES:
            raise InputError(f"{role!r} is no role of a modality; {suggest(str(role), list(ROLES))}")
        if role == "condition" and name not in clips:
            raise InputError(f"{name!r} is to be a condition, but the run's context holds no clip for it.")
    roles = {name: said.get(name, "condition" if name in clips else "generate") for name in modalities}
    if "idle" in roles.values() and set(roles.values()) == {"idle"}:
        raise InputError("every modality is idle; let at least one be generated.")
    return roles
