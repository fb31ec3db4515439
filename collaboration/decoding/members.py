"""Logits of the members of one family (`collaboration.familial`), many sessions at once; nothing is computed twice.

The members share the backbone's blocks and each place's hidden states at the exits, so a draft by a member is half of
its verification by a larger one. A plain causal model is a family without branches. Caches as in `engine`.

Legend: N sessions of a pass, T new tokens, D model size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.decoding.ahead import AheadEngine
from aiflow.collaboration.decoding.blocks import Block, End, Places, grown
from aiflow.collaboration.decoding.engine import Read, check, common, goes_alone, usable
from aiflow.collaboration.familial.drafter import Drafter
from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import InputError

_CHUNK = 256


class Stage:
    """Blocks between two exits, or a branch, and the hidden states (rows, places, D) that come out of them."""

    def __init__(self, layers: Sequence[Any], windows: Sequence[int | None]) -> None:
        self.blocks = [Block(layer, w) for layer, w in zip(layers, windows, strict=True)]
        self.out = torch.empty(0)

    def reserve(self, rows: int, places: int, like: Tensor) -> None:
        old = self.out
        if old.numel() and old.shape[0] >= rows and old.shape[1] >= places:
            return
        if old.numel():
            rows, places = max(rows, old.shape[0]), max(places, old.shape[1])
        self.out = grown(old, (rows, places, like.shape[-1]), like)
        for block in self.blocks:
            block.reserve(rows, places, like)

    def places(self, rows: Sequence[int], starts: Sequence[int], width: int) -> tuple[Tensor, Tensor]:
        """Places (N, T) of ``width`` tokens of each session, and where they are in the flattened buffers."""
        device = self.out.device
        place_NT = torch.tensor(starts, device=device)[:, None] + torch.arange(width, device=device)
        return place_NT, (torch.tensor(rows, device=device)[:, None] * self.out.shape[1] + place_NT).view(-1)

    def read(self, rows: Sequence[int], starts: Sequence[int], width: int) -> Tensor:
        """What came out at those places, (N T, D); beyond the buffer's end, anything."""
        flat_R = self.places(rows, starts, width)[1]
        return self.out.view(-1, self.out.shape[-1])[flat_R.clamp(max=self.out.shape[0] * self.out.shape[1] - 1)]


@dataclass
class Session:
    row: int
    tokens: list[int] = field(default_factory=list)
    done: dict[int, int] = field(default_factory=dict)  # by stage (its id), places that went through it
    used: int = 0


class MemberEngine:
    """One member's logits (`engine.Engine`)."""

    def __init__(self, shared: "FamilyEngine", member: Member) -> None:
        self._shared, self.member = shared, member

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        return self._shared.read(self.member, asked)

    def close(self, session: int) -> None:
        """Forgets a session, for all members."""
        self._shared.close(session)


class FamilyEngine:
    """All members of a family that may be asked for."""

    def __init__(self, family: Family, members: Sequence[Member] | None = None, *, sessions: int = 64) -> None:
        """``members``: by default the full model alone; ``sessions``: caches that are kept, the latest used ones.

        Raises InputError for a member that the family does not have.
        """
        family.requires_grad_(False)
        self._family, self._own, self.most = family.eval(), family.parts, sessions
        self.full = Member(exit=family.depth)
        self.image: int | None = getattr(family.backbone.config, "image_token_id", None)
        members = tuple(members or (self.full,))
        exits = sorted({m.exit for m in members})
        layers = self._own.text.layers
        windows = [self._window(layer) for layer in layers]
        self._trunk = {
            e: Stage(layers[begin:e], windows[begin:e]) for begin, e in zip([0, *exits], exits, strict=False)
        }
        self._tops: dict[Member, Stage] = {}
        self._ends: dict[Member, End] = {}
        for member in members:
            branch = family.branch(member)
            blocks = list(branch.blocks) if branch is not None else []
            self._tops[member] = Stage(blocks, [self._window(b) for b in blocks])
            norm = self._own.text.norm if branch is None or branch.norm is None else branch.norm
            self._ends[member] = End(norm, family.head(member))
        self._drafting: list[Stage] = []
        self._sessions: dict[int, Session] = {}
        self._free: list[int] = []
        self._time = 0
        self._angles: tuple[Tensor, Tensor] | None = None
        self.passes = self.read_tokens = 0

    def view(self, member: Member) -> MemberEngine:
        """The engine of one member. Raises InputError for one that was not named."""
        if member not in self._tops:
            raise InputError(f"member {member} was not named; this engine has {', '.join(map(str, self._tops))}.")
        return MemberEngine(self, member)

    def ahead(self, drafter: Drafter, width: int | None = None) -> AheadEngine:
        """The full model's engine, reading up to ``width`` tokens ahead (None: as many as the drafter was made for).

        Raises InputError for a width that it was not made for, and if the full model was not named.
        """
        return AheadEngine(self, drafter, width)

    def close(self, session: int) -> None:
        """Forgets a session, if it is there."""
        there = self._sessions.pop(session, None)
        if there is not None:
            self._free.append(there.row)

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        stages = [*self._trunk.values(), *self._tops.values(), *self._drafting]
        return sum(s.out.nbytes + sum(b.cache.nbytes for b in s.blocks) for s in stages)

    @torch.inference_mode()
    def read(self, member: Member, asked: Sequence[Read]) -> list[Tensor]:
        """Logits (rows, V) of a member for each request. Raises InputError."""
        check(asked)
        found: list[Tensor] = []
        for start in range(0, len(asked), self.most):
            found += self._part(member, asked[start : start + self.most])
        return found

    def _part(self, member: Member, asked: Sequence[Read]) -> list[Tensor]:
        """Of as many sessions as there are caches."""
        busy = {one.session for one in asked}
        alone = [i for i, one in enumerate(asked) if goes_alone(one, self._kept(one))]
        found = {i: self._read(member, [asked[i]], busy)[0] for i in alone}
        if together := [i for i in range(len(asked)) if i not in found]:
            found.update(zip(together, self._read(member, [asked[i] for i in together], busy), strict=True))
        return [found[i] for i in range(len(asked))]

    def _kept(self, one: Read) -> int:
        there = self._sessions.get(one.session)
        return 0 if there is None else usable(there.tokens, one, self._family.backbone.config)

    def _read(self, member: Member, asked: Sequence[Read], busy: set[int]) -> list[Tensor]:
        sessions = [self.open(one, busy) for one in asked]
        path = [*(s for e, s in self._trunk.items() if e <= member.exit), self._tops[member]]
        before: Stage | None = None
        for stage in path:
            if stage.blocks:
                self._run(stage, before, asked, sessions)
                before = stage
        assert before is not None
        for one, session in zip(asked, sessions, strict=True):
            session.tokens = list(one.tokens)
        self.passes += 1
        last = [before.out[s.row, len(x.tokens) - x.rows : len(x.tokens)] for x, s in zip(asked, sessions, strict=True)]
        logits = self.say(torch.cat(last) if len(last) > 1 else last[0], member)
        return list(torch.split(logits, [x.rows for x in asked]))

    def stage(self, blocks: Sequence[Any]) -> Stage:
        """A stage beside the members' own, for a drafter."""
        self._drafting.append(Stage(blocks, [self._window(b) for b in blocks]))
        return self._drafting[-1]

    def done(self, session: int, stage: Stage) -> int:
        """Places that went through a stage."""
        there = self._sessions.get(session)
        return 0 if there is None else there.done.get(id(stage), 0)

    def usable(self, one: Read) -> int:
        """Places that went through the full model and that a reading can use."""
        return min(self.done(one.session, self._trunk[self.full.exit]), self._kept(one))

    def states(self, session: Session, start: int, end: int) -> Tensor:
        """Hidden states (end - start, D) of the full model."""
        return self._trunk[self.full.exit].out[session.row, start:end]

    def embedded(self, ids: Sequence[int]) -> Tensor:
        """Embeddings (R, D) of tokens."""
        table = self._own.text.embed_tokens
        out: Tensor = table(torch.tensor(ids, dtype=torch.long, device=table.weight.device))
        return out

    def say(self, h_RD: Tensor, member: Member | None = None) -> Tensor:
        """Logits (R, V) of hidden states, by the norm and the head of a member (None: the full model)."""
        return self._ends[member or self.full](h_RD)

    def open(self, one: Read, busy: set[int]) -> Session:
        """The session, with what of it still holds."""
        there = self._sessions.get(one.session)
        if there is None:
            if not self._free and len(self._sessions) >= self.most:
                self.close(min((s for s in self._sessions if s not in busy), key=lambda s: self._sessions[s].used))
            there = Session(self._free.pop() if self._free else len(self._sessions))
            self._sessions[one.session] = there
        kept = common(there.tokens, one.tokens, len(one.tokens)) if self._kept(one) else 0
        there.tokens = there.tokens[:kept]
        there.done = {k: min(n, kept) for k, n in there.done.items()}
        self._time += 1
        there.used = self._time
        return there

    def _run(self, stage: Stage, before: Stage | None, asked: Sequence[Read], sessions: Sequence[Session]) -> None:
        """Brings every session through a stage, up to its last token."""
        done = [s.done.get(id(stage), 0) for s in sessions]
        counts = [len(x.tokens) - d for x, d in zip(asked, done, strict=True)]
        todo = sorted((i for i, n in enumerate(counts) if n > 0), key=lambda i: sessions[i].row)
        if not todo:
            return
        width, starts, mine = max(counts[i] for i in todo), [done[i] for i in todo], [sessions[i] for i in todo]
        if before is None:
            h_RD = self._embed([asked[i] for i in todo], starts, width)
        else:
            h_RD = before.read([s.row for s in mine], starts, width)
        self.run(stage, mine, starts, width, h_RD)
        for i in todo:
            sessions[i].done[id(stage)] = len(asked[i].tokens)
        self.read_tokens += sum(counts[i] for i in todo) if before is None else 0

    def run(self, stage: Stage, sessions: Sequence[Session], starts: Sequence[int], width: int, h_RD: Tensor) -> Tensor:
        """Takes ``width`` places of each session, from its start on, through a stage."""
        length, rows = max(starts) + width, [s.row for s in sessions]
        stage.reserve(max(rows) + 1, -(-length // _CHUNK) * _CHUNK, h_RD)
        place_NT, flat_R = stage.places(rows, starts, width)
        neighbours = rows == list(range(rows[0], rows[0] + len(rows)))
        at = Places(
            shape=(len(rows), width),
            rows=slice(rows[0], rows[-1] + 1) if neighbours else torch.tensor(rows, device=h_RD.device),
            flat_R=flat_R,
            place_NT=place_NT,
            length=length,
            mask_N1TL=_causal(place_NT, length, h_RD.dtype) if place_NT.numel() > 1 else None,
            **self._turns(place_NT, length, h_RD),
        )
        for block in stage.blocks:
            h_RD = block(h_RD, at)
        stage.out.view(-1, h_RD.shape[-1]).index_copy_(0, flat_R, h_RD)
        return h_RD

    def _embed(self, asked: Sequence[Read], done: Sequence[int], width: int) -> Tensor:
        if asked[0].extra and not done[0]:
            (one,) = asked
            device = self._own.text.embed_tokens.weight.device
            return self._family.embed(torch.tensor([list(one.tokens)], device=device), **one.extra)[0]
        new = [list(x.tokens[d:]) for x, d in zip(asked, done, strict=True)]
        return self.embedded([i for n in new for i in n + [0] * (width - len(n))])

    def _turns(self, place_NT: Tensor, length: int, like: Tensor) -> dict[str, Tensor]:
        """Rotary angles of `Places`."""
        if self._angles is None or self._angles[0].shape[0] < length:
            known = torch.arange(-(-length // _CHUNK) * _CHUNK, device=like.device)[None]
            cos, sin = (x[0][:, None] for x in self._own.text.rotary_emb(like, known))
            sin = torch.cat((-sin[..., : sin.shape[-1] // 2], sin[..., sin.shape[-1] // 2 :]), dim=-1)
            config = self._own.config
            turned, still = config.num_attention_heads + config.num_key_value_heads, config.num_key_value_heads
            self._angles = tuple(  # type: ignore[assignment]
                torch.cat((x.expand(-1, turned, -1), torch.full_like(x, rest).expand(-1, still, -1)), dim=1)
                for x, rest in ((cos, 1.0), (sin, 0.0))
            )
        assert self._angles is not None
        flat = place_NT.view(-1)
        return {"cos_RXH": self._angles[0][flat], "sin_RXH": self._angles[1][flat]}

    def _window(self, layer: Any) -> int | None:
        config = self._own.config
        kinds = getattr(config, "layer_types", None)
        slides = (
            kinds[min(layer.self_attn.layer_idx, len(kinds) - 1)] == "sliding_attention"
            if kinds
            else getattr(config, "sliding_window", None)
        )
        return int(config.sliding_window) if slides else None


def _causal(place_NT: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """What each token must not see, as `Places.mask_N1TL`."""
    blocked_NTL = torch.arange(length, device=place_NT.device) > place_NT[:, :, None]
    mask_NTL = torch.zeros(blocked_NTL.shape, dtype=dtype, device=place_NT.device)
    return mask_NTL.masked_fill_(blocked_NTL, -torch.inf)[:, None]
