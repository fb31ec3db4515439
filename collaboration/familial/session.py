"""One conversation on a family: any exit at any token, and nothing is computed twice.

Every block keeps the inputs it has not processed yet. When a deeper exit is asked for, the blocks below it first work
off what waits, in order, which is exact: a block's keys and values depend on earlier tokens only. So tokens that left
early cost their missing blocks when, and only if, somebody asks. Each member's branch has a cache of its own.

Legend: B rows, T new tokens, K all tokens, D model size, V vocabulary. Source: AI Flow, section III-C.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.running import step
from aiflow.errors import InputError


class _Stack:
    """Blocks with one cache, and the inputs that wait for them."""

    def __init__(self, blocks: Sequence[Any]) -> None:
        from transformers import DynamicCache

        self.blocks, self.cache, self.done = blocks, DynamicCache(), 0
        self.waiting: list[Tensor] = []

    def crop(self, length: int) -> None:
        if self.done > length:
            for layer in self.cache.layers:
                layer.crop(-(max(0, layer.get_seq_length() - length)))
            self.done = length
        if self.waiting:
            kept_BTD = torch.cat(self.waiting, 1)[:, : length - self.done]
            self.waiting = [kept_BTD] if kept_BTD.shape[1] else []


class Session:
    """The state of one conversation (B rows in step). ``length`` tokens have been fed."""

    def __init__(self, family: Family, members: Sequence[Member] | None = None) -> None:
        """``members``: what may be asked for; by default every exit with its whole branch, and the full model.

        Raises:
            InputError: if the family lacks one of them.
        """
        self.family = family
        self.members = tuple(members or (m for m, _ in family.members()))
        self._own = family.parts
        self._trunk = [_Stack([layer]) for layer in self._own.text.layers]
        self._tops: dict[Member, _Stack] = {}
        for member in self.members:
            branch = family.branch(member)
            self._tops[member] = _Stack(list(branch.blocks) if branch is not None else [])
        self._valid_BK = torch.zeros(0, 0, dtype=torch.bool)
        self._positions_BK = torch.zeros(0, 0, dtype=torch.long)

    @property
    def length(self) -> int:
        """Tokens fed so far."""
        return self._valid_BK.shape[1]

    def computed(self, exit_: int) -> int:
        """Tokens whose hidden states after ``exit_`` blocks have been computed."""
        return self._trunk[exit_ - 1].done

    def push(
        self, ids_BT: Tensor | None = None, *, embeds: Tensor | None = None, mask_BT: Tensor | None = None
    ) -> None:
        """Appends tokens, or their embeddings (B, T, D), and computes nothing; False in ``mask_BT`` is padding."""
        if (ids_BT is None) == (embeds is None):
            raise InputError("give either token ids or embeddings.")
        h_BTD = self.family.embed(ids_BT) if embeds is None and ids_BT is not None else embeds
        assert h_BTD is not None
        self._append(h_BTD, mask_BT)
        self._trunk[0].waiting.append(h_BTD)

    def resume(self, h_BTD: Tensor, exit_: int, mask_BT: Tensor | None = None) -> None:
        """Appends tokens by their hidden states (B, T, D) after ``exit_`` blocks, computed elsewhere.

        Raises:
            InputError: if earlier tokens still wait below that exit here.
        """
        if not 1 <= exit_ <= len(self._trunk):
            raise InputError(f"exit {exit_} is not usable; the backbone has the exits 1 to {len(self._trunk)}.")
        if exit_ < len(self._trunk):
            there = self._trunk[exit_].done + sum(w.shape[1] for w in self._trunk[exit_].waiting)
            if there != self.length:
                raise InputError(f"{self.length - there} earlier tokens have not reached exit {exit_}; advance first.")
        self._append(h_BTD, mask_BT)
        self._hand_on(h_BTD, exit_)

    def advance(self, member: Member, *, last: bool = False) -> Tensor:
        """Logits (B, T, V) of a member for all tokens it has not read yet, or only for the last one.

        Raises:
            InputError: if the member was not declared, or has read everything.
        """
        top = self._tops.get(member)
        if top is None:
            raise InputError(f"member {member} was not declared; this session has {', '.join(map(str, self.members))}.")
        for index in range(member.exit):
            out_BTD = self._work_off(self._trunk[index])
            if out_BTD is not None:
                self._hand_on(out_BTD, index + 1)
        h_BTD = self._work_off(top)
        if h_BTD is None:
            raise InputError(f"member {member} has read all {self.length} tokens; feed more before asking again.")
        branch = self.family.branch(member)
        norm = branch.norm if branch is not None and branch.norm is not None else self._own.text.norm
        logits: Tensor = self.family.head(member)(norm(h_BTD[:, -1:] if last else h_BTD))
        return logits

    def feed(
        self,
        ids_BT: Tensor | None = None,
        member: Member | None = None,
        *,
        embeds: Tensor | None = None,
        mask_BT: Tensor | None = None,
    ) -> Tensor:
        """Appends tokens and returns a member's logits (B, T, V) for them (default: the last declared member)."""
        self.push(ids_BT, embeds=embeds, mask_BT=mask_BT)
        new = (ids_BT if ids_BT is not None else embeds).shape[1]  # type: ignore[union-attr]
        return self.advance(member or self.members[-1])[:, -new:]

    def crop(self, length: int) -> None:
        """Forgets all tokens from place ``length`` on. Raises InputError outside 0..length."""
        if not 0 <= length <= self.length:
            raise InputError(f"cannot crop to {length} tokens; the session has {self.length}.")
        for stack in (*self._trunk, *self._tops.values()):
            stack.crop(length)
        self._valid_BK, self._positions_BK = self._valid_BK[:, :length], self._positions_BK[:, :length]

    def _append(self, h_BTD: Tensor, mask_BT: Tensor | None) -> None:
        B, T = h_BTD.shape[:2]
        mask_BT = torch.ones(B, T, dtype=torch.bool, device=h_BTD.device) if mask_BT is None else mask_BT.bool()
        if not self.length:
            self._valid_BK = mask_BT[:, :0]
            self._positions_BK = torch.zeros(B, 0, dtype=torch.long, device=h_BTD.device)
        before_B1 = self._valid_BK.sum(-1, keepdim=True)
        self._valid_BK = torch.cat([self._valid_BK, mask_BT], 1)
        positions_BT = (before_B1 + mask_BT.long().cumsum(-1) - 1).clamp(min=0)
        self._positions_BK = torch.cat([self._positions_BK, positions_BT], 1)

    def _hand_on(self, h_BTD: Tensor, depth: int) -> None:
        if depth < len(self._trunk):
            self._trunk[depth].waiting.append(h_BTD)
        for member, top in self._tops.items():
            if member.exit == depth:
                top.waiting.append(h_BTD)

    def _work_off(self, stack: _Stack) -> Tensor | None:
        """Runs a stack on what waits for it; None if nothing does."""
        if not stack.waiting:
            return None
        h_BTD = torch.cat(stack.waiting, 1)
        start, stop = stack.done, stack.done + h_BTD.shape[1]
        for block in stack.blocks:
            h_BTD = step(
                self._own,
                block,
                h_BTD,
                start=start,
                positions_BT=self._positions_BK[:, start:stop],
                valid_BK=self._valid_BK,
                cache=stack.cache,
            )
        stack.waiting, stack.done = [], stop
        return h_BTD
