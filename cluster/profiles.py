"""Measured profiles of agents: how fast a model computes on its node, what it needs, how good it may be. As JSON files.

``measure`` finds the speeds by real requests to anything that answers; what else a plan needs (acceptances, settings
of a codec, exits of a family) comes from the benchmarks that measure it and stands in the same file. Knows no models
and no Ray.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from pydantic import Field

from aiflow.cluster.strict import Strict
from aiflow.errors import DataError, InputError
from aiflow.types import Answer, Image, Message, Options

FORMAT = 1
PROMPTS, OUTPUTS = (8, 64, 192), (1, 16, 48)
"""Words of the prompts and tokens of the answers by which an agent is measured."""
REPEATS = 3


class ExitProfile(Strict):
    """A way to stop after ``exit`` blocks of a family's model, on this node; see `planning.state.Exit`."""

    exit: int = Field(ge=0)
    prefill: float = Field(gt=0, allow_inf_nan=False)
    decode: float = Field(gt=0, allow_inf_nan=False)
    acceptance: float = Field(ge=0, le=1)


class NodeProfile(Strict):
    """One model on one node.

    Attributes:
        agent, node, model: whose.
        prefill: prompt tokens/s.
        decode: s/token; ``per_row``: further seconds for each further token that a pass judges.
        start: seconds of a request beside its tokens.
        encode: seconds to look at an image; None: it sees nothing. ``image_tokens``: what it adds to the prompt.
        memory: bytes; ``slots``: requests at once; ``queue``: requests waiting when it was measured.
        capacity, flops, bias: information capacity of its series, its operations per token (`planning.prior`).
        family, depth, width, dtype, exits: of a familial model.
    """

    agent: str
    node: str
    model: str = ""
    prefill: float = Field(gt=0, allow_inf_nan=False)
    decode: float = Field(gt=0, allow_inf_nan=False)
    per_row: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    start: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    encode: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    image_tokens: int = Field(default=0, ge=0)
    memory: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    slots: int = Field(default=1, ge=1)
    queue: int = Field(default=0, ge=0)
    capacity: float | None = None
    flops: float | None = Field(default=None, ge=2)
    bias: float = 0.0
    family: str = ""
    depth: int = Field(default=0, ge=0)
    width: int = Field(default=0, ge=0)
    dtype: str = "float32"
    exits: tuple[ExitProfile, ...] = ()

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class PairProfile(Strict):
    """How often what one agent drafts stands before another."""

    draft: str
    judge: str
    acceptance: float = Field(ge=0, le=1)


class SettingProfile(Strict):
    """One way to send an image between two agents with a feature codec; see `tofc.control.Setting`."""

    device: str
    server: str
    tokens: int = Field(ge=1)
    level: int = Field(ge=0)
    nbytes: float = Field(gt=0)
    score: float
    device_seconds: float = Field(default=0.0, ge=0)


class Profiles(Strict):
    """All that was measured of a cluster's agents. ``lift``: what its collaboration gains over the best member."""

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    agents: tuple[NodeProfile, ...]
    pairs: tuple[PairProfile, ...] = ()
    settings: tuple[SettingProfile, ...] = ()
    lift: float = 0.0

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a file. Raises DataError, or TopologyError for a key or value that is wrong."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; give the path of a file of profiles.") from None
        except ValueError as error:
            raise DataError(f"{path}: not a file of profiles ({error}); measure the agents anew.") from None
        if not isinstance(data, dict):
            raise DataError(f"{path}: not a file of profiles; begin with {{'agents': [...]}}.")
        return cls(**data)

    def save(self, path: str | Path) -> None:
        """Writes a file."""
        Path(path).write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    def of(self, agent: str) -> NodeProfile:
        """An agent's. Raises InputError."""
        for profile in self.agents:
            if profile.agent == agent:
                return profile
        raise InputError(f"agent {agent!r} has no profile; there are {', '.join(p.agent for p in self.agents)}.")


class Answers(Protocol):
    """What can be measured: an agent."""

    @property
    def name(self) -> str:
        """Of the agent."""

    @property
    def node(self) -> str:
        """Where it runs."""

    async def ask(self, messages: Any, *, options: Options | None = None, deadline: float | None = None) -> Answer:
        """Its answer, with ``usage.seconds`` inside the model's process."""


async def measure(
    agent: Answers,
    *,
    memory: float = 0.0,
    model: str = "",
    repeats: int = REPEATS,
    word: str = "a ",
    deadline: float = 120.0,
) -> NodeProfile:
    """Asks ``agent`` prompts and answers of several lengths, one by one, and fits what each token takes.

    The least of ``repeats`` times counts, since other work only adds to it. Greedy answers may end early; what was said
    counts. Raises what asking raises, and InputError where all sizes are alike.
    """
    rows, times = [], []
    for words in PROMPTS:
        for limit in OUTPUTS:
            answers = [await _ask(agent, word * words, limit, None, deadline) for _ in range(repeats)]
            best = min(answers, key=lambda a: a.usage.seconds)
            rows.append((1.0, best.usage.prompt_tokens, max(0, best.usage.completion_tokens - 1)))
            times.append(best.usage.seconds)
    start, each, said = _fit(rows, times)
    if not said:
        raise InputError(f"agent {agent.name!r} says no more than one token, so its speed cannot be measured.")
    return NodeProfile(
        agent=agent.name, node=agent.node, model=model, prefill=1 / each, decode=said, start=start, memory=memory
    )


async def looking(
    agent: Answers, profile: NodeProfile, image: Image, *, repeats: int = REPEATS, deadline: float = 120.0
) -> NodeProfile:
    """The profile with the seconds to look at an image and the tokens that it adds. Raises what asking raises."""
    shown = [await _ask(agent, "a", 1, image, deadline) for _ in range(repeats)]
    bare = [await _ask(agent, "a", 1, None, deadline) for _ in range(repeats)]
    seen, plain = min(shown, key=_seconds), min(bare, key=_seconds)
    extra = max(0, seen.usage.prompt_tokens - plain.usage.prompt_tokens)
    seconds = max(0.0, _seconds(seen) - _seconds(plain) - extra / profile.prefill)
    return profile.model_copy(update={"encode": seconds, "image_tokens": extra})


def memory_of(model: str | Path) -> float:
    """Bytes of a model's weights in a folder; 0 if it is none."""
    folder = Path(str(model).partition("#")[0])
    return float(sum(file.stat().st_size for file in folder.glob("*.safetensors"))) if folder.is_dir() else 0.0


async def _ask(agent: Answers, text: str, limit: int, image: Image | None, deadline: float) -> Answer:
    turn = Message("user", text, () if image is None else (image,))
    return await agent.ask([turn], options=Options(max_tokens=limit), deadline=deadline)


def _seconds(answer: Answer) -> float:
    return answer.usage.seconds


def _fit(rows: Sequence[tuple[float, float, float]], times: Sequence[float]) -> tuple[float, float, float]:
    """Non-negative seconds of a request, a prompt token and a further token, by relative least squares."""
    a, t = np.asarray(rows, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if not (t > 0).all():
        raise InputError("an answer took no time, so nothing can be measured; is its back end a real model?")
    scaled, one = a / t[:, None], np.ones(len(t))
    best: tuple[float, tuple[float, float, float]] | None = None
    for kept in ((0, 1, 2), (1, 2), (0, 2), (0, 1), (1,), (2,)):
        part, *_ = np.linalg.lstsq(scaled[:, kept], one, rcond=None)
        if (part < 0).any():
            continue
        x = np.zeros(3)
        x[list(kept)] = part
        wrong = float(((scaled @ x - one) ** 2).sum())
        if best is None or wrong < best[0] - 1e-12:
            best = wrong, (float(x[0]), float(x[1]), float(x[2]))
    assert best is not None  # a single column of positive numbers has a positive solution
    start, each, said = best[1]
    return start, max(each, 1e-9), said
