"""The loops that carry split inference's messages, in simulated time: what is waited for, and for how long."""

import asyncio
from contextlib import suppress

import pytest

from aiflow.clock import VirtualClock
from aiflow.collaboration.familial.back import Back, Backs
from aiflow.collaboration.familial.drive import Held, Inbox, drive, serve
from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.front import Front, Manner, Task

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)
DELAY, STEP, PASS = 0.1, 0.01, 0.05


class World:
    """A device and a server, ``DELAY`` seconds apart; nothing arrives that is sent while the link is down."""

    def __init__(self, made, member, *, down=(), limit=10, **manner):
        self.clock, self.down, self.sent, self.turns = VirtualClock(), down, 0, []
        task = Task(session="s", ids=PROMPT, limit=limit)
        self.front = Front(made, member, task, Manner(**manner))
        self.backs = Backs(lambda name: Back(made, name))
        self.up, self.back = Inbox(), Inbox()
        self.damage, self.flights = 0, []

    def put(self, frame, inbox):
        now = self.clock.now()
        self.sent += 1
        if not any(a <= now < b for a, b in self.down):
            self.flights.append(asyncio.ensure_future(self.carry(frame, inbox, now + DELAY)))
        return now + DELAY

    async def carry(self, frame, inbox, arrival):
        await self.clock.sleep_until(arrival)
        inbox.put(frame)

    async def work(self, step):
        step()
        await self.clock.sleep_until(self.clock.now() + STEP)

    async def answer(self, frames):
        (back,) = {self.backs.receive(f, self.clock.now()) for f in frames}
        back.work()
        await self.clock.sleep_until(self.clock.now() + PASS)
        self.damage -= 1
        return [back.answer(PASS) if self.damage != 0 else b"rubbish"]

    def told(self, turn):
        self.turns.append((self.clock.now(), turn, len(self.front.tokens) - len(PROMPT)))

    def run(self, choose=None, **how):
        async def main():
            server = asyncio.ensure_future(serve(self.up, self.answer, lambda v: self.put(v, self.back)))
            held = Held(self.front, self.work, choose)
            send = lambda f: self.put(f, self.up)  # noqa: E731
            try:
                await drive(held, send, self.back, self.clock, self.told, patience=0.5, **how)
            finally:
                server.cancel()
                with suppress(asyncio.CancelledError):
                    await server
            return self.clock.now()

        return asyncio.run(self.clock.run(main()))


def test_the_device_speaks_at_once_and_the_server_decides(family):
    world = World(family("llama"), Member(exit=2))
    end = world.run()
    first = next(t for t, _, said in world.turns if said)
    assert first == pytest.approx(STEP)
    assert end > 2 * DELAY + PASS
    assert world.front.done
    assert world.front.took == pytest.approx(1e6 * PASS * round(world.front.took / 1e6 / PASS))


def test_a_device_without_a_branch_takes_a_round_trip_for_each_token(family):
    world = World(family("llama"), Member(exit=2, keep=0), limit=4)
    assert world.run() == pytest.approx(4 * (STEP + 2 * DELAY + PASS))


@pytest.mark.parametrize("down", [(0.0, 3.0), (0.05, 2.0), (0.3, 4.0)])
def test_a_dead_link_is_noticed_after_the_patience_and_polled_until_it_lives(family, down):
    made = family("llama")
    wanted = World(made, Member(exit=2))
    wanted.run()
    asked = []

    def choose():
        asked.append(1)
        return "ids"

    world = World(made, Member(exit=2), down=[down], ahead=3)
    end = world.run(choose)
    assert world.front.answer == wanted.front.answer
    silent = [t for t, turn, _ in world.turns if turn.silent]
    assert down[0] + 0.3 < silent[0] < down[0] + 1.5
    assert silent[-1] >= down[1]
    assert down[1] < end < down[1] + 5
    assert asked == [1]
    assert world.front.manner.transport == "ids"
    alone = max(said for _, turn, said in world.turns if turn.silent)
    assert alone == 10  # all of the answer, beyond the three that it may be ahead


def test_a_damaged_verdict_counts_as_lost(family):
    made = family("llama")
    wanted = World(made, Member(exit=2))
    wanted.run()
    world = World(made, Member(exit=2))
    world.damage = 2
    world.run()
    assert world.front.answer == wanted.front.answer


def test_settling_waits_for_the_server_after_a_run_that_stands(family):
    made = family("llama")
    world = World(made, Member(exit=2), down=[(0.0, 3.0)], policy="best_effort")
    assert world.run() < 1
    assert world.front.done
    assert not world.front.settled
    world = World(made, Member(exit=2), down=[(0.0, 3.0)], policy="best_effort")
    assert world.run(settle=True) > 3
    assert world.front.settled
    assert world.backs.get("s").ids == world.front.tokens[:-1]
