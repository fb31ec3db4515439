"""A branch that drafts: from the full model's last hidden states it predicts the next several tokens in one pass.

The full model has read a text up to some place; one more token is known. The drafter reads each known token beside the
full model's state before it, and stands once more, with a learned input, at each of the places ahead. Places ahead do
not know what was drafted before them, so a draft of any length costs one pass. Its norm, LM head and embeddings are the
family's. Source: familial speculation (AI Flow, section III-B); features as inputs are EAGLE's idea (2401.15077),
several places in one pass PARD's (2504.18583).

Legend: B rows, T tokens, A anchors, W places of a draft, R = A W, S = T + A (W - 1), D model size, V vocabulary,
C tokens that count.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import new_block, shortened
from aiflow.collaboration.familial.losses import at_least_float, cast, divergence
from aiflow.collaboration.familial.store import Reader, write
from aiflow.errors import InputError, WeightsError

KIND = "aiflow_drafter"
FOLDER = "drafter"
"""Where a family's folder keeps its drafter."""
WEIGHTS = "model.safetensors"
EPS = 1e-6
"""Of the norms of a drafter's inputs, which have no weights."""


class Description(BaseModel):
    """config.json of a drafter."""

    model_config = ConfigDict(extra="forbid")
    model_type: str = KIND
    width: int
    blocks: int
    hidden_size: int


class Drafter(nn.Module):
    """``join`` reads a token's embedding and the state before it; ``ahead`` (W - 1, D) stands at the places ahead."""

    def __init__(self, config: Any, *, width: int = 8, blocks: int = 2) -> None:
        """``config``: of the family's text model. Raises InputError for a width or a number of blocks below one."""
        super().__init__()
        if width < 1 or blocks < 1:
            raise InputError(f"width {width}, blocks {blocks}: give at least one of each.")
        size = config.hidden_size
        self.join = nn.Linear(2 * size, size, bias=False)
        self.ahead = nn.Parameter(0.02 * torch.randn(width - 1, size))
        made = [new_block(shortened(config, blocks), i) for i in range(blocks)]
        for block in made:
            block.self_attn.config = config  # the family's, so that switching the attention kernel reaches every block
        self.blocks = nn.ModuleList(made)
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.normal_(linear.weight, std=0.02)

    @property
    def width(self) -> int:
        """Places of a draft."""
        return len(self.ahead) + 1

    def inputs(self, token: Tensor, before: Tensor) -> Tensor:
        """(..., D) of known tokens: their embeddings (an image's too: its token's), and the states before (0: none)."""
        both = [F.rms_norm(x, x.shape[-1:], eps=EPS) for x in (token, before)]
        out: Tensor = self.join(torch.cat(both, dim=-1))
        return out

    def save_pretrained(self, folder: Path | str, *, storage: Any = "bfloat16") -> None:
        """Writes config.json and model.safetensors (``storage`` as in `files.save`)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / WEIGHTS, self.state_dict(), storage=storage, metadata={"format": "pt", "kind": KIND})
        kept = Description(width=self.width, blocks=len(self.blocks), hidden_size=self.ahead.shape[1])
        (folder / "config.json").write_text(kept.model_dump_json(indent=1) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str, family: Family) -> "Drafter":
        """Reads the drafter of ``family``, in its dtype. Raises WeightsError for a folder without one of its size."""
        path, config = Path(folder) / "config.json", family.parts.config
        try:
            kept = Description.model_validate_json(path.read_text())
        except (FileNotFoundError, ValidationError):
            raise WeightsError(f"there is no drafter in {folder}; train one with `aiflow train drafter`.") from None
        if kept.model_type != KIND or kept.hidden_size != config.hidden_size:
            raise WeightsError(f"{folder} drafts for a model of size {kept.hidden_size}, not {config.hidden_size}.")
        made, reader = cls(config, width=kept.width, blocks=kept.blocks), Reader(Path(folder) / WEIGHTS)
        weight = family.parts.text.embed_tokens.weight
        try:
            made.load_state_dict({name: reader.read(name, dtype=weight.dtype) for name in made.state_dict()})
        except RuntimeError as error:  # shapes that do not fit
            raise WeightsError(f"the drafter in {folder} was made for another family; train one for this.") from error
        return made.to(weight).eval()


def predict(drafter: Drafter, family: Family, ids_BT: Tensor, state_BTD: Tensor, anchor_BA: Tensor) -> Tensor:
    """What the drafter says at the places of many drafts at once; differentiable.

    Args:
        drafter: of ``family``.
        family: gives embeddings and rotary angles.
        ids_BT: known tokens.
        state_BTD: the full model's last hidden states of them.
        anchor_BA: the last known place of each draft; it uses the states before it and the tokens up to it.

    Returns:
        Hidden states (B, A, W, D) of the anchor and the W - 1 places ahead of it.
    """
    (B, T), (_, A), W = ids_BT.shape, anchor_BA.shape, drafter.width
    own, device = family.parts, anchor_BA.device
    known_BTD = drafter.inputs(own.text.embed_tokens(ids_BT), F.pad(state_BTD, (0, 0, 1, 0))[:, :-1])
    ahead_BSD = drafter.ahead.to(known_BTD.dtype).expand(B, A, -1, -1).flatten(1, 2)
    h_BSD = torch.cat((known_BTD, ahead_BSD), dim=1)
    place_BAW = anchor_BA[..., None] + torch.arange(W, device=device)
    place_BS = torch.cat((torch.arange(T, device=device).expand(B, T), place_BAW[..., 1:].flatten(1)), 1)
    angles, mask_B1SS = own.text.rotary_emb(h_BSD, place_BS), _seen(anchor_BA, T, W, h_BSD.dtype)
    for block in drafter.blocks:
        h_BSD = block(h_BSD, attention_mask=mask_B1SS, position_ids=place_BS, position_embeddings=angles)
    first_BAD = h_BSD.gather(1, anchor_BA[..., None].expand(-1, -1, h_BSD.shape[-1]))
    return torch.cat((first_BAD[:, :, None], h_BSD[:, T:].view(B, A, W - 1, -1)), dim=2)


def loss(
    drafter: Drafter, family: Family, batch: Any, anchors: int, *, fade: float = 0.9, autocast: bool = False
) -> Tensor:
    """KL(full model || drafter) at the places of a draft, averaged; the text is the batch's.

    Args:
        drafter: learns; the family does not.
        family: the full model is the teacher, and its last states are inputs.
        batch: `training.TextBatch`; what it weighs with 0 is not drafted.
        anchors: known places of each row from which drafts begin, drawn by chance, the same for the same batch.
        fade: weight of a place ahead relative to the one before it.
        autocast: bfloat16 arithmetic; the loss stays float32.

    Raises InputError if no token of the batch counts.
    """
    full, own, W = Member(exit=family.depth), family.parts, drafter.width
    counts_BT = batch.weights_BT > 0
    anchor_BA, drawn_BA = _drawn(counts_BT, anchors, seed=int(batch.ids_BT.sum()))
    (B, T), A = counts_BT.shape, anchor_BA.shape[1]
    place_BAW = anchor_BA[..., None] + torch.arange(W, device=anchor_BA.device)
    inside_BR = place_BAW.clamp(max=T - 1).view(B, -1)
    counted_BAW = counts_BT.gather(1, inside_BR).view(B, A, W) & (place_BAW < T) & drawn_BA[..., None]
    counted_BAW = counted_BAW.long().cumprod(-1).bool()  # up to the end of the answer
    with cast(batch.weights_BT, autocast):
        with torch.no_grad():
            state_BTD = family.hidden(batch.embeds(family), [full.exit])[full.exit]
            wanted_BRD = state_BTD.gather(1, inside_BR[..., None].expand(-1, -1, state_BTD.shape[-1]))
            wanted_CV = own.head(own.text.norm(wanted_BRD.view(B, A, W, -1)[counted_BAW]))
        said_CV = own.head(own.text.norm(predict(drafter, family, batch.ids_BT, state_BTD, anchor_BA)[counted_BAW]))
    losses_C = divergence(*(at_least_float(x).log_softmax(-1) for x in (wanted_CV, said_CV)))
    weight_C = (fade ** torch.arange(W, device=anchor_BA.device)).expand(B, A, W)[counted_BAW]
    return (losses_C * weight_C).sum() / weight_C.sum()


def _drawn(counts_BT: Tensor, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Up to ``most`` places of each row that count, and which of them are there. Raises InputError if none is."""
    A = min(most, int(counts_BT.sum(1).max()))
    if not A:
        raise InputError("no token of the batch has a loss weight; leave such batches out.")
    chance_BT = torch.rand(counts_BT.shape, generator=torch.Generator().manual_seed(seed)).to(counts_BT.device)
    order_BT = torch.where(counts_BT, chance_BT, -1.0)
    score_BA, anchor_BA = order_BT.topk(A, dim=1)
    return anchor_BA, score_BA >= 0


def _seen(anchor_BA: Tensor, T: int, W: int, dtype: torch.dtype) -> Tensor:
    """The additive mask (B, 1, S, S): known places are causal; ahead, the known up to the anchor and the own draft."""
    B, A = anchor_BA.shape
    device, ahead = anchor_BA.device, A * (W - 1)
    last_BS = torch.cat((torch.arange(T, device=device).expand(B, T), anchor_BA.repeat_interleave(W - 1, 1)), dim=1)
    known_BST = torch.arange(T, device=device) <= last_BS[..., None]
    index = torch.arange(ahead, device=device)
    draft, step = index // max(1, W - 1), index % max(1, W - 1)
    own = (draft[:, None] == draft) & (step <= step[:, None])
    own_SA = torch.cat((own.new_zeros(T, ahead), own))
    seen_BSS = torch.cat((known_BST, own_SA.expand(B, -1, -1)), dim=-1)
    mask = torch.zeros(seen_BSS.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~seen_BSS, torch.finfo(dtype).min)[:, None]
