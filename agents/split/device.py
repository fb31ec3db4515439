"""One answer at a device: its front, the text of what it says, and the seconds it has computed."""

from collections.abc import Awaitable, Callable

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.decoding.sitting import Scribe
from aiflow.agents.split import model, wire
from aiflow.clock import Clock
from aiflow.collaboration.familial.drive import Held
from aiflow.collaboration.familial.front import Front, Manner, Task
from aiflow.errors import InputError


class Talk:
    """A session; ``work`` runs what computes."""

    def __init__(
        self, asked: wire.Open, loaded: Loaded, clock: Clock, work: Callable[[Callable[[], None]], Awaitable[None]]
    ) -> None:
        """Raises InputError."""
        self._asked, self._clock, self._work = asked, clock, work
        self.seconds = 0.0
        family, member = model.device(loaded, asked.exit)
        prompt = loaded.prompter([turn.message() for turn in asked.turns])
        self.limit = min(asked.limit, loaded.context - len(prompt.ids))
        others = set(prompt.extra) - {"pixel_values", "image_sizes"}
        if others:
            raise InputError(f"the images of this model need {', '.join(sorted(others))}, which cannot be split yet.")
        task = Task(
            session=asked.key,
            ids=tuple(prompt.ids),
            limit=self.limit,
            ends=loaded.ends,
            banned=loaded.silent,
            vocabulary=model.vocabulary(loaded),
        )
        manner = Manner(
            dtype=asked.dtype,  # type: ignore[arg-type]  # checked there
            lossy=asked.lossy,
            policy=asked.policy,  # type: ignore[arg-type]
            ahead=asked.ahead,
            budget=asked.budget,
        )
        self.front = Front(family, member, task, manner, pixel_values=prompt.extra.get("pixel_values"))
        self._held = Held(self.front, self._timed)
        self._scribe = Scribe(
            loaded.decode,
            names=asked.names,
            ends=loaded.ends,
            stop=(*asked.stop, *prompt.stop),
            limit=self.limit,
            provisional=asked.provisional,
        )

    async def begin(self) -> wire.State:
        """The first token, from the branch; nothing is sent yet, since what is to travel is not known."""
        await self._timed(self.front.step)
        return self._state([])

    async def step(self, asked: wire.Step) -> wire.State:
        """See `Held.step`."""
        if asked.transport is not None:
            self.front.switch(asked.transport)
        turn = await self._held.step(asked.verdicts, lost=asked.lost, hold=asked.hold)
        return self._state(list(turn.frames))

    def leave(self) -> wire.State:
        """The farewell to the server."""
        return self._state([self.front.poll(end=True)])

    async def _timed(self, compute: Callable[[], None]) -> None:
        began = self._clock.now()
        await self._work(compute)
        self.seconds += self._clock.now() - began

    def _state(self, frames: list[bytes]) -> wire.State:
        front, news = self.front, self._scribe.news(self.front)
        over = self._scribe.over()
        return wire.State(
            frames=frames,
            wants=front.wants and not over,
            silent=front.silent,
            done=front.done or over,
            settled=front.settled,
            final=news.final if news else "",
            provisional=[wire.Shown(text=t, place=p, tier=n) for t, p, n in news.provisional] if news else [],
            finish=news.finish if news else None,
            tokens=len(front.answer),
            own=front.accepted,
            alone=front.decided_here,
            taken_back=front.taken_back,
            place=front.final - front.start,
            seconds=self.seconds,
            server_us=front.took,
            transport=front.manner.transport,
        )
