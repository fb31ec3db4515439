"""One tier of a session: says tokens by its model's law, judges what the tier below proposes, is judged from above.

All tiers are the same. The device has no tier below, so every token it says is one without a proposal; the top tier
has none above, so what it says is final. A round judges the m >= 0 proposals that are there and says one token more;
m = 0 is ordinary decoding. A tier knows neither models nor time nor links: `want` says which logits it needs, `take`
gets them, `receive` and `outgoing` carry frames. Frames may be lost, doubled, late or damaged; the text is the same.

tokens:  prompt ... | final | above | own | proposals      (each boundary is a place, counted from the prompt's start)
Source: AI Flow, section II-B2. Legend: T rows, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from aiflow.collaboration.decoding.rules import Rule
from aiflow.collaboration.decoding.sparse import Sparse
from aiflow.collaboration.decoding.wire import EPOCHS, MOST, NUMBERS, TOOK, Draft, Verdict, decode, later
from aiflow.errors import InputError, MessageError

REMEMBERED = 16
"""Earlier epochs whose verdicts can still be read."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all tiers know of a session: its number, the prompt, how many tokens at most, and which ids end it."""

    session: int
    prompt: tuple[int, ...]
    limit: int
    ends: frozenset[int] = frozenset()
    vocabulary: int = 1 << 24

    def __post_init__(self) -> None:
        if not 0 <= self.session < 1 << 32:
            raise InputError(f"session {self.session} is not usable; give a number of 0..2^32 - 1.")
        if not self.prompt or self.limit < 1:
            raise InputError(f"{len(self.prompt)} prompt tokens, limit {self.limit}: give at least one of each.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a tier works; may change at any time and never changes the text.

    Attributes:
        block: tokens of one draft to the tier above.
        ahead: tokens said that the tier above has not judged, at most. ``block``: synchronous; more: several blocks in
            flight; 0: says nothing.
        eager: says a token rather than wait for proposals. Drafts may change it (``above``).
        above: whether drafts ask the tier above to be eager.
        threshold: ends a draft after a token with less than this probability; that token is sent.
    """

    block: int = 4
    ahead: int = 4
    eager: bool = False
    above: bool = False
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """Logits that a tier needs: of the last ``rows`` places of ``tokens``, to speak from place ``start`` on."""

    tokens: list[int]
    rows: int
    start: int
    version: int


class Tier:
    """The state of one session at one tier."""

    def __init__(
        self, job: Job, rule: Rule, plan: Plan, *, bottom: bool = False, top: bool = False, said: Sequence[int] = ()
    ) -> None:
        """``said``: tokens of a session that goes on here; they are final."""
        self.job, self.rule, self.plan, self.bottom, self.top = job, rule, plan, bottom, top
        self.tokens = [*job.prompt, *said]
        self.session = job.session  # with the tier above
        self.final = self.above = self.own = len(self.tokens)
        self.epoch = 0  # of our drafts
        # A tier above that is not heard of: this one goes on alone, and is judged later. One below: it is eager.
        self.silent_above = self.silent_below = False
        self.accepted = self.judged = 0  # proposals from below
        self.confirmed = self.refused = 0  # own tokens that the tier above judged
        self.echo = (0, 0.0)  # a place that the tier above has heard of, and how many seconds before it said so
        self.now = self.took = 0.0  # clock time, and seconds of the last round: set by whoever runs the tier
        self.verdict_took = 0.0  # seconds of the last round above
        self._sent = self.own
        self._cut = False
        self._version = 0
        self._lost: dict[int, int] = {}  # by earlier epoch of our drafts, the least place taken back since
        self._floor = self._below = 0  # least epoch that counts, and the one of the proposals
        self._heard = (0, 0.0)  # end of the latest draft, and when it came
        self._same = (self.own, self.own)  # places where the tier below has our tokens, in its epoch
        self._tell: int | None = None  # place from which on the tier below is to be told
        # Told places from `_redo` on were taken back; the verdict that says so first, once sent, awaits its receipt.
        self._redo: int | None = None
        self._redo_number: int | None = None
        self._told_final = self.final
        self._number = 0
        self._seen = 0
        self._more = False
        self._laws: dict[int, Sparse | None] = {}  # of own tokens and of proposals

    @property
    def start(self) -> int:
        """Place of the first token of the answer."""
        return len(self.job.prompt)

    @property
    def done(self) -> bool:
        """Whether the answer is final."""
        return self._complete(self.final)

    @property
    def answer(self) -> list[int]:
        """Final tokens of the answer."""
        return self.tokens[self.start : self.final]

    def want(self) -> Work | None:
        """The logits that the next round needs; None: there is nothing to do now."""
        there = len(self.tokens) - self.own
        if self._complete(self.own) or not (there or self.bottom or self.plan.eager or self.silent_below):
            return None
        waits = self.own - self.above
        full = waits >= MOST if self.silent_above else waits >= self.plan.ahead or (self._cut and waits)
        if full and not self.top:
            return None
        beyond = self.own + there < self.start + self.job.limit and not (there and self._more)
        rows = there + beyond
        return Work(tokens=self.tokens[: self.own + rows - 1], rows=rows, start=self.own, version=self._version)

    def take(self, work: Work, logits_TV: Tensor) -> None:
        """Says tokens by the logits of ``work``; nothing happens if what it read no longer stands."""
        if (work.version, work.start) != (self._version, self.own):
            return
        before, there = self.own, len(self.tokens)
        said = self.rule.say(logits_TV, self.tokens, before, [self._laws.get(p) for p in range(before, there)])
        tokens, laws = self._to_end(said.tokens), said.laws
        if self.bottom and self.plan.threshold:
            self._cut = float(logits_TV[0].softmax(-1)[tokens[0]]) < self.plan.threshold
        equal = 0
        while equal < len(tokens) and before + equal < there and tokens[equal] == self.tokens[before + equal]:
            equal += 1
        if (at := before + equal) < there and equal < len(tokens):  # rejected
            self._floor = (self._below + 1) % EPOCHS
            self._drop(at)
        self._agree(before, at)
        self.judged += min(len(tokens), there - before)
        self.accepted += equal
        self.tokens[before : before + len(tokens)] = tokens
        self.own = before + len(tokens)
        self._laws.update(zip(range(before, self.own), laws, strict=False))
        if self.top:
            self.above = self.final = self.own
        self._announce(before)

    def receive(self, data: bytes) -> None:
        """Reads a frame. Raises ProtocolError (a subclass) for one that is damaged or wrong; nothing changes then."""
        message = decode(data)
        own = self.job.session if isinstance(message, Draft) else self.session
        if message.session != own:
            raise MessageError(f"a frame of session {message.session} reached session {own}.")
        end = self.start + self.job.limit
        last = message.base + len(message.ids) + (message.same if isinstance(message, Verdict) else 0)
        if not self.start <= message.base <= last <= end or any(i >= self.job.vocabulary for i in message.ids):
            raise MessageError(f"a frame about the places {message.base}..{last} or with ids that are not there.")
        if isinstance(message, Draft):
            self._proposed(message)
        else:
            self._judged(message)

    def outgoing(self) -> tuple[list[bytes], list[bytes]]:
        """Frames to the tier above and to the one below, since the last call."""
        up: list[bytes] = []
        if not self.top:
            while self._ready() and not self.silent_above:  # a poll will tell all
                up.append(self._draft(self._sent, poll=False))
                self._sent = min(self.own, self._sent + MOST)
        down: list[bytes] = []
        if not self.bottom:
            while self._tell is not None:
                down.append(self._verdict(self._tell))
        return up, down

    def reopen(self, above: int | None = None) -> None:
        """The tier above begins anew, with what is final as ``said`` and as session ``above``; all else is said anew.

        None keeps the number, where no frame of the lost tier can come any more.

        Every tier above the one that was lost must begin anew, each with a session number of its own, so that frames of
        the old ones are known; and nothing that was drawn with a lost tier's numbers is judged by them again.
        """
        self._take_back(self.final)
        self.session = self.session if above is None else above
        self._seen = 0
        self._cut = False

    def lead(self) -> None:
        """The tier above is gone for good: this one is the highest from now on, and what it has said is final."""
        self.top = True
        self.above = self.final = self.own
        self._announce(self._told_final)

    def poll(self) -> bytes:
        """A draft of all that is not judged, for a tier above that has been silent for too long."""
        self._sent = max(self._sent, min(self.own, self.above + MOST))
        return self._draft(self.above, poll=True)

    def _ready(self) -> bool:
        waits = self.own - self._sent
        full = self.own - self.above >= self.plan.ahead or self._cut or self._complete(self.own)
        # Where the tier above may speak if nothing has come, whether a drawn token is sent must not depend on it.
        block = 1 if self.plan.above and self._laws.get(self._sent) is not None else max(1, self.plan.block)
        return waits >= block or (waits > 0 and full)

    def _draft(self, base: int, *, poll: bool) -> bytes:
        end = min(self.own, base + MOST)
        laws = tuple(law for p in range(base, end) if (law := self._laws.get(p)) is not None)
        more = self.plan.ahead > self.plan.block and not self._complete(self.own) and bool(laws)
        bits = max(1, (self.job.vocabulary - 1).bit_length())
        return Draft(
            session=self.session,
            epoch=self.epoch,
            seen=self._seen,
            base=base,
            ids=tuple(self.tokens[base:end]),
            laws=laws if len(laws) == end - base else (),
            more=more,
            poll=poll,
            eager=self.plan.above,
            id_bits=min(bits, 24),
        ).encode()

    def _verdict(self, base: int) -> bytes:
        first, last = self._same
        same = min(last - base, MOST) if first <= base < last else 0
        end = min(self.own, base + same + MOST)
        self._tell = end if end < self.own else None
        self._told_final = self.final
        self._number = self._number % (NUMBERS - 1) + 1
        if self._redo is not None and self._redo_number is None:
            self._redo_number = self._number
        return Verdict(
            session=self.job.session,
            epoch=self._below if same else self._floor,
            number=self._number,
            base=base,
            same=same,
            ids=tuple(self.tokens[base + same : end]),
            final=self.final,
            took=round(self.took / TOOK),
            heard=self._heard[0] - base if 0 < self._heard[0] - base <= MOST else 0,
            age=round((self.now - self._heard[1]) / TOOK),
        ).encode()

    def _proposed(self, message: Draft) -> None:
        if self.bottom:
            raise MessageError("a draft reached the lowest tier.")
        epoch, base = message.epoch, message.base
        known = min(len(self.tokens), base + len(message.ids))
        fresh = later(epoch, self._below)
        told = self._redo_number is not None and message.seen > 0 and not later(self._redo_number, message.seen)
        over = (self._redo is not None and not told) or later(self._floor, epoch)
        overlap = range(max(base, self.own), known)
        if not over and not fresh and any(message.ids[p - base] != self.tokens[p] for p in overlap):
            raise MessageError(f"a draft of epoch {epoch} contradicts an earlier one.")
        if told:
            self._redo = self._redo_number = None
        if message.poll:
            self._announce(min(base, self.own))
        if over or base > (self.own if fresh else len(self.tokens)):
            return  # or there is a gap before it
        if fresh:
            self._drop(self.own)
            self._below = self._floor = epoch
            self._same = (base, base)
        self._heard = base + len(message.ids), self.now
        for i, token in enumerate(message.ids):
            place = base + i
            if place < self.own and token != self.tokens[place]:
                self._floor = (epoch + 1) % EPOCHS
                self._drop(self.own)
                return
            if place < self.own:
                self._agree(place, place + 1)
            elif place == len(self.tokens):
                self.tokens.append(token)
                self._laws[place] = message.laws[i] if message.laws else None
        self._more = message.more
        if self.plan.eager != message.eager:
            self.plan = replace(self.plan, eager=message.eager)

    def _judged(self, message: Verdict) -> None:
        if self.top:
            raise MessageError("a verdict reached the highest tier.")
        base, at = message.base, message.base + message.same
        stale = self._seen > 0 and not later(message.number, self._seen)
        other = message.same > 0 and message.epoch != self.epoch and at > self._lost.get(message.epoch, 0)
        if stale or base > self.above or other:
            return
        if at > self.own or any(
            self.tokens[at + i] != token for i, token in enumerate(message.ids) if at + i < self.final
        ):
            raise MessageError("a verdict about tokens that were not sent, or against final ones.")
        self._seen = message.number
        end, before = at + len(message.ids), self.above
        equal, kept = min(end, self.own), True
        for place, token in enumerate(message.ids, at):
            if place < len(self.tokens) and self.tokens[place] != token:
                self._take_back(place)
                equal, kept = (place, False) if kept else (equal, kept)
            if place == len(self.tokens):
                self.tokens.append(token)
                self._laws[place] = None
            self.own = max(self.own, place + 1)
        if later(message.epoch, self.epoch):
            self._lost[self.epoch] = len(self.tokens)
            self.epoch = message.epoch
            self._sent = self.above = min(self.above, end)
        self._cut = self._cut and self.own > end
        self.confirmed += max(0, equal - before)
        if message.heard:
            self.echo = message.base + message.heard, message.age * TOOK
        self.refused += not kept
        self.verdict_took = message.took * TOOK or self.verdict_took
        self.above = max(self.above, end) if kept else end
        self._sent = max(self._sent, self.above)
        self.final = max(self.final, min(message.final, self.above))
        if not kept or self.own > before or self.final > self._told_final:
            self._announce(min(before, self.own))

    def _take_back(self, place: int) -> None:
        """Forgets the tokens from ``place`` on, which the tier above did not accept."""
        self._lost = dict([(e, min(p, place)) for e, p in self._lost.items()][-REMEMBERED:])
        if self._sent > place:
            self._lost[self.epoch] = place
            self.epoch = (self.epoch + 1) % EPOCHS
        self._drop(place)
        self.own, self.above, self._sent = min(self.own, place), min(self.above, place), min(self._sent, place)
        self._redo, self._redo_number = place if self._redo is None else min(self._redo, place), None
        self._announce(place)

    def _drop(self, place: int) -> None:
        self._version += len(self.tokens) > place
        del self.tokens[place:]
        for p in [p for p in self._laws if p >= place]:
            del self._laws[p]
        self._same = (min(self._same[0], place), min(self._same[1], place))
        self._more = False

    def _announce(self, place: int) -> None:
        if not self.bottom:
            self._tell = min(p for p in (place, self._tell, self._redo) if p is not None)

    def _agree(self, start: int, end: int) -> None:
        first, last = self._same
        if first <= start <= last < end:
            self._same = (first, end)

    def _complete(self, place: int) -> bool:
        return place > self.start and (place >= self.start + self.job.limit or self.tokens[place - 1] in self.job.ends)

    def _to_end(self, tokens: list[int]) -> list[int]:
        for i, token in enumerate(tokens):
            if token in self.job.ends:
                return tokens[: i + 1]
        return tokens
