"""A family: one backbone, branches at its exits, and members of almost any size that share the weights.

A member is a standard transformers model of the backbone's class, so whatever runs the backbone (generate, aiflow's
engine) runs it; exit and rank are arguments of each call and never a setting. Source: AI Flow, section III-B2.

Legend: B rows, T tokens, D model size, V vocabulary.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from aiflow.collaboration.familial.branch import Branch
from aiflow.collaboration.familial.kinds import Parts, parts, with_blocks
from aiflow.collaboration.familial.running import run
from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True, order=True)
class Member:
    """A size of the family: ``exit`` blocks of the backbone, then the share ``keep`` of the branch there.

    ``exit`` = L is the full model. ``keep`` None takes the branch as it is stored, and 0 none of it: the backbone's
    own norm and head read the exit (early exit without a branch).
    """

    exit: int
    keep: float | None = None

    def __str__(self) -> str:
        return f"{self.exit}" if self.keep is None else f"{self.exit}:{self.keep:g}"

    @classmethod
    def parse(cls, text: str) -> "Member":
        """Reads "2" or "2:0.75". Raises InputError."""
        exit_, _, keep = text.partition(":")
        try:
            return cls(exit=int(exit_), keep=float(keep) if keep else None)
        except ValueError:
            raise InputError(f"{text!r} is no member; write EXIT or EXIT:KEEP, such as 2 or 2:0.75.") from None


class Family(nn.Module):
    """``backbone``: a causal or LLaVA-type model; ``branches``: by exit."""

    def __init__(self, backbone: Any, branches: Mapping[int, Branch] | None = None, *, whole: bool = True) -> None:
        """``whole`` False: only the first blocks of the backbone are here, so its last exit is not the full model."""
        super().__init__()
        self.backbone = backbone
        self.whole = whole
        self.branches = nn.ModuleDict()
        for exit_, branch in sorted((branches or {}).items()):
            self.add(exit_, branch)

    @property
    def parts(self) -> Parts:
        """Where the backbone's parts are."""
        return parts(self.backbone)

    @property
    def depth(self) -> int:
        """Blocks of the backbone that are here."""
        return len(self.parts.text.layers)

    @property
    def exits(self) -> tuple[int, ...]:
        """Exits that can be asked for, the full model last."""
        return (*sorted(map(int, self.branches)), *((self.depth,) if self.whole else ()))

    def add(self, exit_: int, branch: Branch) -> None:
        """Hangs a branch on an exit. Raises InputError outside 1..L-1 (L, if the backbone goes on elsewhere)."""
        last = self.depth - self.whole
        if not 1 <= exit_ <= last:
            raise InputError(f"a branch at exit {exit_} is not usable; the backbone has the exits 1 to {last}.")
        self.branches[str(exit_)] = branch.at(exit_)

    def branch(self, member: Member) -> Branch | None:
        """The branch, or its part, of a member; None for the full model and a bare early exit. Raises InputError."""
        self.check(member)
        if member.keep == 0 or (self.whole and member.exit == self.depth):
            return None
        branch = self.branches[str(member.exit)]
        assert isinstance(branch, Branch)
        return branch if member.keep is None else branch.first(branch.ranks(member.keep), member.exit)

    def check(self, member: Member) -> None:
        """Raises InputError if the family does not have the member."""
        full = self.whole and member.exit == self.depth
        if full and member.keep is not None:
            raise InputError(f"the full model (exit {self.depth}) has no branch; leave out keep={member.keep}.")
        bare = member.keep == 0 and 0 <= member.exit <= self.depth
        if not full and not bare and str(member.exit) not in self.branches:
            there = ", ".join(map(str, self.exits)) or "none"
            raise InputError(f"exit {member.exit} is not in this family; its exits are {there}.")

    def member(self, member: Member) -> Any:
        """A standard model of the backbone's class that shares the family's weights.

        Its key-value cache is its own, so any number of members run at once in one process. Raises InputError.
        """
        branch = self.branch(member)
        blocks = list(self.parts.text.layers[: member.exit])
        if branch is None:
            return self.backbone if len(blocks) == self.depth else with_blocks(self.backbone, blocks)
        return with_blocks(self.backbone, [*blocks, *branch.blocks], norm=branch.norm, head=branch.head)

    def part(self, member: Member) -> "Family":
        """What a device needs of the family to be ``member``, sharing the weights; see also `from_pretrained`.

        Raises InputError.
        """
        branch = self.branch(member)
        if self.depth == member.exit and branch is None:
            return self
        below = with_blocks(self.backbone, list(self.parts.text.layers[: member.exit]))
        return Family(below, {} if branch is None else {member.exit: branch}, whole=False).eval()

    def count(self, member: Member) -> int:
        """Parameters a member uses: embeddings and LM head (tied: once), vision parts, norm, blocks, branch."""
        own, branch = self.parts, self.branch(member)
        unused = {id(p) for layer in own.text.layers[member.exit :] for p in layer.parameters()}
        if branch is not None and branch.norm is not None:
            unused |= {id(p) for p in own.text.norm.parameters()}
        if branch is not None and branch.head is not None and own.head.weight is not own.text.embed_tokens.weight:
            unused.add(id(own.head.weight))
        used = {id(p): p for p in self.backbone.parameters() if id(p) not in unused}
        return sum(int(p.numel()) for p in used.values()) + (branch.parameters_used() if branch is not None else 0)

    def members(self) -> list[tuple[Member, int]]:
        """Each exit with its whole branch, and the full model; with parameter counts, smallest first."""
        found = [Member(exit=e) for e in self.exits]
        return sorted(((m, self.count(m)) for m in found), key=lambda row: row[1])

    def embed(self, ids_BT: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        """Input embeddings (B, T, D); image features take the places of the image tokens."""
        h_BTD: Tensor = self.parts.text.embed_tokens(ids_BT)
        if pixel_values is None:
            return h_BTD
        features = self.backbone.get_image_features(pixel_values=pixel_values).pooler_output
        return self.place(ids_BT, h_BTD, features)

    def place(self, ids_BT: Tensor, h_BTD: Tensor, features: Any) -> Tensor:
        """Puts image features, one (N, D) tensor per image, where ``ids_BT`` has image tokens. Raises InputError."""
        import torch

        flat = torch.cat(list(features)).to(h_BTD.dtype)
        where = (ids_BT == self.backbone.config.image_token_id).unsqueeze(-1)
        if int(where.sum()) != flat.shape[0]:
            raise InputError(f"{int(where.sum())} image tokens for {flat.shape[0]} image features; they must agree.")
        return h_BTD.masked_scatter(where, flat)

    def hidden(self, h_BTD: Tensor, exits: Collection[int], *, mask_BT: Tensor | None = None) -> dict[int, Tensor]:
        """Hidden states (B, T, D) after each of ``exits`` blocks in one pass, without a cache; differentiable."""
        found: dict[int, Tensor] = {}
        done = 0
        for stop in sorted(set(exits)):
            h_BTD = run(self.parts, self.parts.text.layers[done:stop], h_BTD, mask_BT=mask_BT)
            found[stop], done = h_BTD, stop
        return found

    def read(self, h_BTD: Tensor, member: Member, *, mask_BT: Tensor | None = None) -> Tensor:
        """Normed features (B, T, D) from the hidden states at the member's exit: branch, then norm; differentiable."""
        branch = self.branch(member)
        if branch is not None:
            h_BTD = run(self.parts, branch.blocks, h_BTD, mask_BT=mask_BT)
        norm = branch.norm if branch is not None and branch.norm is not None else self.parts.text.norm
        features: Tensor = norm(h_BTD)
        return features

    def head(self, member: Member) -> Any:
        """The LM head a member reads out with."""
        branch = self.branch(member)
        return branch.head if branch is not None and branch.head is not None else self.parts.head

    def forward(self, ids_BT: Tensor, member: Member, pixel_values: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) of a member, without a cache."""
        h_BTD = self.hidden(self.embed(ids_BT, pixel_values), [member.exit])[member.exit]
        logits: Tensor = self.head(member)(self.read(h_BTD, member))
        return logits

    def save_pretrained(self, folder: Any, *, storage: str = "bfloat16") -> None:
        """Writes config.json and model.safetensors; see `files.save`."""
        from aiflow.collaboration.familial.files import save

        save(self, folder, storage=storage)

    @classmethod
    def from_pretrained(cls, folder: Any, *, member: Member | None = None, dtype: Any = None) -> "Family":
        """Reads a family, or only the weights that ``member`` needs; see `files.load`."""
        from aiflow.collaboration.familial.files import load

        return load(folder, member=member, dtype=dtype)
