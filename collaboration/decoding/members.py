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

from aiflow.collaboration.decoding.blocks import Block, Places
from aiflow.collaboration.decoding.engine import Read, check, common, goes_alone, usable
from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import InputError

_CHUNK = 256


class _Stage:
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
        self.out = like.new_zeros(rows, places, like.shape[-1])
        if old.numel():
            self.out[: old.shape[0], : old.shape[1]] = old
        for block in self.blocks:
            block.reserve(rows, places, like)


@dataclass
class _Session:
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
        self._family, self._own, self._most = family.eval(), family.parts, sessions
        members = tuple(members or (Member(exit=family.depth),))
        exits = sorted({m.exit for m in members})
        layers = self._own.text.layers
        windows = [self._window(layer) for layer in layers]
        self._trunk = {
            e: _Stage(layers[begin:e], windows[begin:e]) for begin, e in zip([0, *exits], exits, strict=False)
        }
        self._tops: dict[Member, _Stage] = {}
        for member in members:
            branch = family.branch(member)
            blocks = list(branch.blocks) if branch is not None else []
            self._tops[member] = _Stage(blocks, [self._window(b) for b in blocks])
        self._sessions: dict[int, _Session] = {}
        self._free: list[int] = []
        self._time = 0
        self._angles: tuple[Tensor, Tensor] | None = None
        self.passes = self.read_tokens = 0

    def view(self, member: Member) -> MemberEngine:
        """The engine of one member. Raises InputError for one that was not named."""
        if member not in self._tops:
            raise InputError(f"member {member} was not named; this engine has {', '.join(map(str, self._tops))}.")
        return MemberEngine(self, member)

    def close(self, session: int) -> None:
        """Forgets a session, if it is there."""
        there = self._sessions.pop(session, None)
        if there is not None:
            self._free.append(there.row)

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        stages = [*self._trunk.values(), *self._tops.values()]
        return sum(s.out.nbytes + sum(b.keys.nbytes + b.values.nbytes for b in s.blocks) for s in stages)

    @torch.inference_mode()
    def read(self, member: Member, asked: Sequence[Read]) -> list[Tensor]:
        """Logits (rows, V) of a member for each request. Raises InputError."""
        check(asked)
        found: list[Tensor] = []
        for start in range(0, len(asked), self._most):
            found += self._part(member, asked[start : start + self._most])
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
        sessions = [self._open(one, busy) for one in asked]
        path = [*(s for e, s in self._trunk.items() if e <= member.exit), self._tops[member]]
        before: _Stage | None = None
        for stage in path:
            if stage.blocks:
                self._run(stage, before, asked, sessions)
                before = stage
        assert before is not None
        for one, session in zip(asked, sessions, strict=True):
            session.tokens = list(one.tokens)
        self.passes += 1
        branch = self._family.branch(member)
        norm = branch.norm if branch is not None and branch.norm is not None else self._own.text.norm
        head = self._family.head(member)
        last = [before.out[s.row, len(x.tokens) - x.rows : len(x.tokens)] for x, s in zip(asked, sessions, strict=True)]
        logits = head(norm(torch.cat(last) if len(last) > 1 else last[0]))
        return list(logits.split([x.rows for x in asked]))

    def _open(self, one: Read, busy: set[int]) -> _Session:
        """The session, with what of it still holds."""
        there = self._sessions.get(one.session)
        if there is None:
            if not self._free and len(self._sessions) >= self._most:
                self.close(min((s for s in self._sessions if s not in busy), key=lambda s: self._sessions[s].used))
            there = _Session(self._free.pop() if self._free else len(self._sessions))
            self._sessions[one.session] = there
        kept = common(there.tokens, one.tokens, len(one.tokens)) if self._kept(one) else 0
        there.tokens = there.tokens[:kept]
        there.done = {k: min(n, kept) for k, n in there.done.items()}
        self._time += 1
        there.used = self._time
        return there

    def _run(self, stage: _Stage, before: _Stage | None, asked: Sequence[Read], sessions: Sequence[_Session]) -> None:
        """Brings every session through a stage, up to its last token."""
        done = [s.done.get(id(stage), 0) for s in sessions]
        counts = [len(x.tokens) - d for x, d in zip(asked, done, strict=True)]
        todo = [i for i, n in enumerate(counts) if n > 0]
        if not todo:
            return
        width, length = max(counts[i] for i in todo), max(done[i] for i in todo) + max(counts[i] for i in todo)
        rows = [sessions[i].row for i in todo]
        device = self._own.text.embed_tokens.weight.device
        place_NT = torch.tensor([done[i] for i in todo], device=device)[:, None] + torch.arange(width, device=device)
        row_N1 = torch.tensor(rows, device=device)[:, None]
        if before is None:
            h_NTD = self._embed([asked[i] for i in todo], [done[i] for i in todo], width)
        else:
            h_NTD = before.out[row_N1, place_NT.clamp(max=before.out.shape[1] - 1)]
        stage.reserve(max(rows) + 1, -(-length // _CHUNK) * _CHUNK, h_NTD)
        at = self._places(row_N1, rows == list(range(len(rows))), place_NT, length, h_NTD)
        for block in stage.blocks:
            h_NTD = block(h_NTD, at)
        stage.out[row_N1, place_NT] = h_NTD
        for i in todo:
            sessions[i].done[id(stage)] = len(asked[i].tokens)
        self.read_tokens += sum(counts[i] for i in todo) if before is None else 0

    def _embed(self, asked: Sequence[Read], done: Sequence[int], width: int) -> Tensor:
        if asked[0].extra and not done[0]:
            (one,) = asked
            ids_NT = torch.tensor([list(one.tokens)], device=self._own.text.embed_tokens.weight.device)
            return self._family.embed(ids_NT, **one.extra)
        new = [list(x.tokens[d:]) for x, d in zip(asked, done, strict=True)]
        table = self._own.text.embed_tokens
        embedded: Tensor = table(torch.tensor([n + [0] * (width - len(n)) for n in new], device=table.weight.device))
        return embedded

    def _places(self, row_N1: Tensor, first: bool, place_NT: Tensor, length: int, like: Tensor) -> Places:
        if self._angles is None or self._angles[0].shape[0] < length:
            known = torch.arange(-(-length // _CHUNK) * _CHUNK, device=like.device)[None]
            cos, sin = self._own.text.rotary_emb(like, known)
            self._angles = cos[0], sin[0]
        blocked = None
        if place_NT.numel() > 1:
            blocked = torch.arange(length, device=like.device) > place_NT[:, None, :, None]
        return Places(
            row_N1=row_N1,
            first=first,
            place_NT=place_NT,
            length=length,
            cos_NTH=self._angles[0][place_NT],
            sin_NTH=self._angles[1][place_NT],
            blocked_N1TL=blocked,
        )

    def _window(self, layer: Any) -> int | None:
        config = self._own.config
        kinds = getattr(config, "layer_types", None)
        slides = (
            kinds[min(layer.self_attn.layer_idx, len(kinds) - 1)] == "sliding_attention"
            if kinds
            else getattr(config, "sliding_window", None)
        )
        return int(config.sliding_window) if slides else None
