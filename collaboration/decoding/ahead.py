"""The full model's logits, read ahead: a drafter (`familial.drafter`) guesses tokens that are read in the same pass.

What was guessed right costs no pass when it is asked for, and nobody who asks needs to know: the logits are the full
model's own. One session alone pays two thin blocks and a few more rows of a pass for several tokens; the more sessions
share a pass, the fewer tokens are guessed, down to none.

Legend: C tokens, W tokens of a guess, D model size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from aiflow.collaboration.decoding.blocks import Joined, Unit
from aiflow.collaboration.decoding.engine import LONG, Read, check
from aiflow.collaboration.familial.drafter import EPS, Drafter
from aiflow.errors import InputError

if TYPE_CHECKING:
    from aiflow.collaboration.decoding.members import FamilyEngine, Session

LEAST = 0.2
"""A guess is read if it is right with at least this probability, as the drafter sees it."""
ROWS = 16
"""Rows of a pass that cost little more than one; guesses fill them up."""


@dataclass(kw_only=True)
class _Path:
    """Tokens that were read, guesses included, and the logits after those from place ``first`` on."""

    tokens: list[int]
    first: int
    logits: Tensor
    asked: int  # tokens that were no guesses


class AheadEngine:
    """See above; an `engine.Engine`."""

    def __init__(self, shared: "FamilyEngine", drafter: Drafter, width: int | None = None) -> None:
        """See `FamilyEngine.ahead`."""
        self.width = drafter.width if width is None else width
        if not 1 <= self.width <= drafter.width:
            raise InputError(f"guesses of {self.width} tokens are not usable; this drafter makes 1 to {drafter.width}.")
        self._target = shared.view(shared.full)
        self._shared, self._stage = shared, shared.stage(list(drafter.blocks))
        self._ahead = drafter.ahead.detach()
        self._unit = Unit(torch.ones_like(drafter.join.weight[0, : drafter.join.out_features]), EPS)
        self._join = Joined([drafter.join], self._unit.gain.repeat(2))
        self._paths: dict[int, _Path] = {}
        self.accepted = self.judged = self.passes = 0  # guesses, and passes of the full model

    @torch.inference_mode()
    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        check(asked)
        found = {i: logits for i, one in enumerate(asked) if (logits := self._known(one)) is not None}
        todo = [i for i in range(len(asked)) if i not in found]
        for start in range(0, len(todo), self._shared.most):
            group = todo[start : start + self._shared.most]
            found.update(zip(group, self._pass([asked[i] for i in group]), strict=True))
        return [found[i] for i in range(len(asked))]

    def close(self, session: int) -> None:
        """See `Engine.close`."""
        self._paths.pop(session, None)
        self._shared.close(session)

    def guessed(self, session: int) -> list[int]:
        """What was guessed of a session beyond what was asked for."""
        path = self._paths.get(session)
        return [] if path is None else path.tokens[path.asked :]

    def _known(self, one: Read) -> Tensor | None:
        """The logits, if they are there already."""
        path, end = self._paths.get(one.session), len(one.tokens)
        if path is None or not path.asked < min(end, len(path.tokens)):
            return None
        if list(one.tokens[: path.asked]) != path.tokens[: path.asked]:
            return None
        self.judged += 1  # at least the next guess
        if list(one.tokens) != path.tokens[:end] or end - one.rows < path.first:
            return None
        self.accepted += end - path.asked
        self.judged += end - path.asked - 1
        path.asked = end
        return path.logits[end - one.rows - path.first : end - path.first]

    def _pass(self, asked: Sequence[Read]) -> list[Tensor]:
        guesses = self._guess(asked)
        longer = [replace(x, tokens=[*x.tokens, *g], rows=x.rows + len(g)) for x, g in zip(asked, guesses, strict=True)]
        found = []
        for one, full, logits in zip(asked, longer, self._target.read(longer), strict=True):
            self._paths.pop(one.session, None)
            self._paths[one.session] = _Path(
                tokens=list(full.tokens), first=len(full.tokens) - full.rows, logits=logits, asked=len(one.tokens)
            )
            found.append(logits[: one.rows])
        if new := [one for one in asked if self._room(asked) and self._behind(one) > LONG]:
            self._follow(new, 0)  # the drafter reads prompts when the target does
        while len(self._paths) > self._shared.most:
            del self._paths[next(iter(self._paths))]
        self.passes += 1
        return found

    def _guess(self, asked: Sequence[Read]) -> list[list[int]]:
        """What may follow, for each session of which the full model has read all but the last token."""
        W = self._room(asked)
        fit = [i for i, one in enumerate(asked) if 0 < self._shared.usable(one) == len(one.tokens) - 1] if W else []
        guesses: list[list[int]] = [[] for _ in asked]
        if fit:
            drafted = self._follow([asked[i] for i in fit], W)
            best = self._shared.say(drafted).softmax(-1).max(-1)
            worth = best.values.view(-1, W).cumprod(-1) >= LEAST  # that it is right, and all before it
            counts = worth.sum(-1).tolist()
            for i, guess, count in zip(fit, best.indices.view(-1, W).tolist(), counts, strict=True):
                image = self._shared.image  # which would need features, and which no answer has
                guesses[i] = guess[: guess.index(image) if image in guess else W][:count]
        return guesses

    def _room(self, asked: Sequence[Read]) -> int:
        """How many tokens may be guessed of each session."""
        return max(0, min(self.width, ROWS // len(asked) - 1))

    def _behind(self, one: Read) -> int:
        """Tokens that the drafter has not read."""
        return len(one.tokens) - self._shared.done(one.session, self._stage)

    def _follow(self, asked: Sequence[Read], W: int) -> Tensor:
        """Brings the drafter up to the last tokens and ``W`` - 1 places ahead; hidden states (N W, D) from there on."""
        stage, busy = self._stage, {one.session for one in asked}
        sessions = [self._shared.open(one, busy) for one in asked]
        ends = [len(one.tokens) for one in asked]
        starts = [min(s.done.get(id(stage), 0), end - 1) for s, end in zip(sessions, ends, strict=True)]
        counts = [end - start for start, end in zip(starts, ends, strict=True)]
        ids = [i for one, start in zip(asked, starts, strict=True) for i in one.tokens[start:]]
        before_CD = torch.cat([self._before(s, a, e - 1) for s, a, e in zip(sessions, starts, ends, strict=True)])
        both_C2D = self._unit(torch.stack((self._shared.embedded(ids), before_CD), dim=1))
        inputs = torch.split(self._join(both_C2D.flatten(1)), counts)  # as `Drafter.inputs`
        ahead, most = self._ahead[: max(0, W - 1)], max(counts)
        h_RD = torch.cat([F.pad(torch.cat((x, ahead)), (0, 0, 0, most - len(x))) for x in inputs])
        h_RD = self._shared.run(stage, sessions, starts, most + len(ahead), h_RD)
        for session, end in zip(sessions, ends, strict=True):
            session.done[id(stage)] = end
        h_NTD = h_RD.view(len(sessions), most + len(ahead), -1)
        return torch.cat([h_NTD[i, c - 1 : c - 1 + W] for i, c in enumerate(counts)])

    def _before(self, session: "Session", start: int, end: int) -> Tensor:
        """The full model's states (C, D) one place before ``start`` ... ``end``; zero before the first."""
        states = self._shared.states(session, max(start - 1, 0), end)
        return states if start else F.pad(states, (0, 0, 1, 0))
