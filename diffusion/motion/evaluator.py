"""The text-motion embedding that retrieval and Frechet distances are measured in: two encoders, one space.

Trained once by contrast on procedural scenes, then frozen; results name its fingerprint. Contacts are dropped, as in
InterCLIP. Beside other scenes' motions a caption is told apart from its own scene with the two persons out of place or
out of time (`parted`): without, a text that only one person fits scores as well, and the distances do not see whether
two people meet. Knows no generator.

Legend: B scenes, T frames (in tokens of four), L words, D width, Z embedding.
"""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from aiflow.diffusion.blocks import positions
from aiflow.diffusion.motion.features import POSITIONS, WIDTH
from aiflow.diffusion.motion.model import PATCH, _Normalised, patched, token_mask
from aiflow.diffusion.words import WordEncoder


class MotionEvaluator(_Normalised):
    """Embeds scenes of two persons and captions on the unit sphere of one space."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, vocabulary: int, width: int = 96, layers: int = 3, heads: int = 4, embedding: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * PATCH * (WIDTH - 4), width)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.motion_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embedding))
        self.text = WordEncoder(vocabulary, 64, 2, 4)
        self.text_out = nn.Linear(64, embedding)
        self.scale = nn.Parameter(torch.tensor(2.6))

    def motions(self, u_BPTC: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, Z) of scenes in metres (B, 2, T, 262)."""
        x = self.normalise(u_BPTC)[..., : WIDTH - 4] * mask_BT[:, None, :, None]
        h = self.enter(patched(x.transpose(1, 2).flatten(2)))
        h = torch.cat([self.query.expand(len(h), 1, -1), h + positions(h.shape[1], h.shape[2], h.device)], dim=1)
        there = torch.cat([mask_BT.new_ones(len(h), 1), token_mask(mask_BT)], dim=1)
        h = self.encoder(h, src_key_padding_mask=~there)[:, 0]
        return nn.functional.normalize(self.motion_out(h).float(), dim=-1)

    def texts(self, ids_BL: Tensor, words_BL: Tensor) -> Tensor:
        """(B, Z) of captions."""
        return nn.functional.normalize(self.text_out(self.text(ids_BL, words_BL)[1]).float(), dim=-1)

    def forward(
        self,
        u_BPTC: Tensor,
        mask_BT: Tensor,
        ids_BL: Tensor,
        words_BL: Tensor,
        parted_NPTC: Tensor | None = None,
        parted_NT: Tensor | None = None,
    ) -> Tensor:
        """The symmetric contrastive loss of a batch; ``parted``: scenes (with their masks) that fit no caption."""
        motion, text = self.motions(u_BPTC, mask_BT), self.texts(ids_BL, words_BL)
        logits = self.scale.exp() * text @ motion.T
        own = torch.arange(len(logits), device=logits.device)
        back = nn.functional.cross_entropy(logits.T, own)
        if parted_NPTC is not None and parted_NT is not None and len(parted_NPTC):
            wrong = self.motions(parted_NPTC, parted_NT)
            logits = torch.cat([logits, self.scale.exp() * text @ wrong.T], dim=1)
        loss: Tensor = (nn.functional.cross_entropy(logits, own) + back) / 2
        return loss


APART = (0.15, 0.6)
"""How far, in metres, a person is put out of place."""
AHEAD = (3, 9)
"""By how many frames one person is ahead of the other: from, to below."""


def parted(u_BPTC: Tensor, mask_BT: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The scenes and masks with person two aside or, half of them, one of the two ahead of the other.

    Scenes that are out of time lose the frames that only one of the two still has.
    """
    count, frames = len(u_BPTC), u_BPTC.shape[2]
    far = APART[0] + (APART[1] - APART[0]) * torch.rand(count, generator=generator)
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    ahead_BP = torch.randint(*AHEAD, (count, 1), generator=generator).repeat(1, 2)
    ahead_BP[torch.arange(count), torch.randint(2, (count,), generator=generator)] = 0
    aside = torch.rand(count, generator=generator) < 0.5
    ahead_BP[aside] = 0
    at = (torch.arange(frames) + ahead_BP[..., None]).clamp(max=frames - 1)
    u = u_BPTC.gather(2, at[..., None].expand(u_BPTC.shape))
    u[:, 1, :, POSITIONS][..., 0::3] += (far * torch.cos(angle) * aside)[:, None, None]
    u[:, 1, :, POSITIONS][..., 2::3] += (far * torch.sin(angle) * aside)[:, None, None]
    lengths = mask_BT.sum(dim=-1) - ahead_BP.amax(dim=-1)
    mask = torch.arange(frames) < lengths[:, None]
    return u * mask[:, None, :, None], mask
