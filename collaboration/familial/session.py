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

    @property
    def end(self) -> int:
        """The place after the last input that is here."""
        return self.done + sum(w.shape[1] for w in self.waiting)

    def take(self, h_BTD: Tensor, start: int) -> None:
        """Inputs of the places from ``start`` on; what is here already is skipped."""
        new_BTD = h_BTD[:, max(0, self.end - start) :]
        if new_BTD.shape[1]:
            self.waiting.append(new_BTD)

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
        """``members``: what may be asked for (none: hidden states only); by default every exit and the full model.

        Raises:
            InputError: if the family lacks one of them.
        """
        self.family = family
        self.members = tuple((m for m, _ in family.members()) if members is None else members)
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
        start = self.length
        self._append(h_BTD, mask_BT)
        self._hand_on(h_BTD, 0, start)

    def fill(self, embeds_BTD: Tensor) -> None:
        """Gives the first block the next inputs of tokens that came as hidden states, so that `push` can go on.

        Raises:
            InputError: for more embeddings than tokens that lack them.
        """
        start = self.reached(0)
        if start + embeds_BTD.shape[1] > self.length:
            raise InputError(f"{embeds_BTD.shape[1]} embeddings for {self.length - start} tokens that lack them.")
        self._trunk[0].take(embeds_BTD, start)

    def resume(self, h_BTD: Tensor, exit_: int, mask_BT: Tensor | None = None) -> None:
        """Appends tokens by their hidden states (B, T, D) after ``exit_`` blocks, computed elsewhere.

        Raises:
            InputError: if earlier tokens still wait below that exit here.
        """
        if not 0 <= exit_ <= len(self._trunk):
            raise InputError(f"exit {exit_} is not usable; the backbone has the exits 0 to {len(self._trunk)}.")
        there = self.reached(exit_)
        if there != self.length:
            raise InputError(f"{self.length - there} earlier tokens have not reached exit {exit_}; advance first.")
        self._append(h_BTD, mask_BT)
        self._hand_on(h_BTD, exit_, there)

    def reached(self, exit_: int) -> int:
        """Tokens whose hidden states after ``exit_`` blocks came here or were computed here."""
        stacks = self._trunk[exit_ : exit_ + 1] or [t for m, t in self._tops.items() if m.exit == exit_]
        return stacks[0].end if stacks else self._trunk[exit_ - 1].done

    def reach(self, exit_: int) -> Tensor | None:
        """Runs the blocks below ``exit_`` on all that waits for them; their new hidden states (B, T, D), if any."""
        out_BTD = None
        for index in range(exit_):
            out_BTD = self._work_off(self._trunk[index])
            if out_BTD is not None:
                self._hand_on(out_BTD, index + 1, self._trunk[index].done - out_BTD.shape[1])
        return out_BTD

    def advance(self, member: Member, *, last: int = 0) -> Tensor:
        """Logits (B, T, V) of a member for all tokens it has not read yet, or only for the ``last`` ones (0: all).

        Raises:
            InputError: if the member was not declared, or has read everything.
        """
        top = self._tops.get(member)
        if top is None:
            raise InputError(f"member {member} was not declared; this session has {', '.join(map(str, self.members))}.")
        self.reach(member.exit)
        h_BTD = self._work_off(top)
        if h_BTD is None:
            raise InputError(f"member {member} has read all {self.length} tokens; feed more before asking again.")
        branch = self.family.branch(member)
        norm = branch.norm if branch is not None and branch.norm is not None else self._own.text.norm
        logits: Tensor = self.family.head(member)(norm(h_BTD[:, -last:]))
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

    def caches(self, exit_: int = 0) -> list[Tensor]:
        """Keys and values of the backbone's blocks from ``exit_`` on, as far as they were computed."""
        layers = [layer for stack in self._trunk[exit_:] for layer in stack.cache.layers if layer.is_initialized]
        return [t for layer in layers for t in (layer.keys, layer.values)]

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

    def _hand_on(self, h_BTD: Tensor, depth: int, start: int) -> None:
        for stack in (*self._trunk[depth : depth + 1], *(t for m, t in self._tops.items() if m.exit == depth)):
            stack.take(h_BTD, start)

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
