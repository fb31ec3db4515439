"""Features instead of images (TOFC) as a way to answer: every setting of a codec's profile. Costs only."""

from collections.abc import Iterator
from dataclasses import replace

from aiflow.collaboration.planning.alone import crossing, unreachable
from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.prior import quality
from aiflow.collaboration.planning.state import Party, State
from aiflow.collaboration.planning.task import MESSAGE, TOKEN, Task
from aiflow.collaboration.tofc.control import Setting


def tofc(task: Task, state: State) -> Iterator[Option]:
    """One option for each setting and server; none without a picture or a codec."""
    device = state.device
    if not task.image_bytes:
        return
    for server in state.servers:
        settings = state.settings.get((device.name, server.name), ())
        best = max((s.score for s in settings), default=0.0)
        for setting in settings:
            one = computing(task, state, server, setting)
            up = one.nbytes + MESSAGE + TOKEN * task.prompt_tokens
            why = unreachable(state, device, server)
            if len(task.image_bytes) > 1:
                why = why or f"{len(task.image_bytes)} images; it sends one"
            yield Option(
                mode="tofc",
                parties=(device.name, server.name),
                parameters={"tokens": setting.tokens, "level": setting.level},
                seconds=one.device_seconds
                + state.send(device, server, up)
                + one.server_seconds
                + state.send(server, device, task.answer_bytes),
                bytes=crossing(state, device, server, up, task.answer_bytes),
                quality=quality(server, state) * (setting.score / best if best > 0 else 1.0),
                why_not=why,
            )


def computing(task: Task, state: State, server: Party, setting: Setting) -> Setting:
    """The setting with the seconds of both sides for this task; the device's are the profile's where unmeasured."""
    device = state.device
    looking = device.speeds.encode
    seen = device.load * looking if looking is not None else setting.device_seconds
    answered = server.answering(task.prompt_tokens + setting.tokens, task.output_tokens)
    return replace(setting, device_seconds=device.wait + seen, server_seconds=answered)
