"""What the graphs of diffusion models share: their state, how a run begins, and how its result is brought.

The state holds text, numbers and handles: what was computed stays with the agents until somebody fetches it.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from pydantic import BaseModel, ValidationError

from aiflow.agents.diffusion.crew import Crew, find, past
from aiflow.agents.diffusion.ledger import Trace
from aiflow.agents.diffusion.line import Held, Line
from aiflow.errors import InputError
from aiflow.graphs.blocks.node import Update
from aiflow.graphs.blocks.writer import writer

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment

Handle = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Common(TypedDict, total=False):
    """Of every run. ``request`` names it: the same request with the same input finds what is still held."""

    request: str
    at: str  # the asker's node
    result: Any  # a handle, or handles by modality; see `fetch`
    marks: list[str]  # what went otherwise than it should have; empty: the result is the undisturbed one
    trace: Trace  # seconds by node, bytes by link, messages


def begin(crew: Crew, state: Mapping[str, Any]) -> Line:
    """The line of a run that starts now."""
    request = state.get("request") or secrets.token_hex(8)
    if not isinstance(request, str) or len(request) > 48:
        raise InputError(f"request={request!r} cannot name a run; give at most 48 characters, or nothing.")
    return crew.line(request, None, writer())


def resume(crew: Crew, state: Mapping[str, Any]) -> Line:
    """The line of a run that goes on."""
    return crew.line(state["request"], state["trace"], writer())


def account(line: Line, **update: Any) -> Update:
    """An update of the state, with what the run cost up to now."""
    trace = line.trace()
    return {"request": line.request, "at": line.at, "marks": trace["marks"], "trace": trace} | update


def message(kind: type[M], **fields: Any) -> M:
    """A message made of what a user gave. Raises InputError that names the wrong field."""
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}={_short(fields, first['loc'])} cannot be used: {first['msg']}.") from None


def accept(state: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What the state says of the named inputs."""
    return {name: state[name] for name in names if name in state and state[name] is not None}


async def fetch(state: Mapping[str, Any], cluster: "Deployment | Mapping[str, Any]", *, deadline: float = 60.0) -> Any:
    """Brings a run's result to its asker's node: a motion, a depth, or clips by modality.

    ``cluster``: where the agents are, by name. Returns ``diffusion.motion.party.Motion``,
    ``diffusion.depth.wire.Depth`` or a dict of ``diffusion.video.wire.Video``. Raises InputError for a state without
    a result, AgentError if it is lost and cannot be computed again (run again: the same input gives the same result).
    """
    found = state.get("result")
    if not isinstance(found, Mapping):
        raise InputError("this state holds no result; give what a run of the graph returned.")
    if "key" in found:
        return read(found["kind"], await _bring(state, found, cluster, deadline))
    return {name: read(one["kind"], await _bring(state, one, cluster, deadline)) for name, one in found.items()}


def read(kind: str, data: bytes) -> Any:
    """A result from its bytes."""
    from aiflow.diffusion.messages import decode

    system = kind.partition(".")[0]
    if system == "motion":
        from aiflow.graphs.workflows.serial import motion

        return motion(data)
    if system == "depth":
        from aiflow.diffusion.depth.wire import Depth

        return decode(data, Depth)
    from aiflow.diffusion.video.wire import Video

    return decode(data, Video)


async def _bring(state: Mapping[str, Any], handle: Mapping[str, Any], cluster: Any, deadline: float) -> bytes:
    held = Held.of(handle)
    agent = find(held.agent, cluster)
    line = past(state["request"], state["at"], agent)
    return await line.bring(line.knows([agent], held), deadline=deadline)


def _short(fields: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    value: Any = fields
    for step in where:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return "(nothing)" if value is fields else repr(value)[:60]
    return repr(value)[:60]
