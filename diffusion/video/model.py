"""The transformer of the networked collaboration: a CogVideoX, widened at its ends to several modalities.

Every modality has its own input columns and its own head; what they share are the blocks. The role of a modality
(generate, condition, idle) enters as an embedding that is added to its latents *inside* the network, never to what the
sampler holds. Knows no noise schedule and no text encoder.

Shapes: B samples, M modalities, F latent frames, C channels of a modality's latents, H x W latent pixels, S tokens,
D width, L text tokens, E width of a text token. Source: AI Flow section IV-B3.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn
from torch.nn import functional

from aiflow.errors import InputError, UnsupportedModelError, suggest

ROLES = ("generate", "condition", "idle")
GENERATE, CONDITION, IDLE = range(3)
TEXT_TOKENS = 10
"""Tokens of a caption that the small model reads."""


class Head(nn.Module):
    """From the blocks' states to one modality's prediction: CogVideoX's own last two layers."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.norm_out, self.proj_out = deepcopy(trunk.norm_out), deepcopy(trunk.proj_out)

    def forward(self, h_BSD: Tensor, time_BE: Tensor) -> Tensor:
        """(B, S, values per token)."""
        out: Tensor = self.proj_out(self.norm_out(h_BSD, temb=time_BE))
        return out


class OmniTransformer3D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts for all modalities at once. Its options are those of its trunk and what was added to it.

    Args:
        base: the configuration of the CogVideoXTransformer3DModel; its ``in_channels`` is that of ONE modality.
        modalities: their names, in the order of the channels.
        outputs: the modalities that have a head (by default all): a model that never generates depth needs none for it.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        base: dict[str, Any],
        modalities: Sequence[str] = ("rgb", "depth", "segment", "edges"),
        outputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        channels = int(base["in_channels"])
        self.trunk: Any = CogVideoXTransformer3DModel(  # type: ignore[no-untyped-call]
            **{**base, "in_channels": channels * len(modalities), "out_channels": channels}
        )
        self.heads = nn.ModuleDict({name: Head(self.trunk) for name in outputs or modalities})
        del self.trunk.norm_out, self.trunk.proj_out  # type: ignore[attr-defined]
        self.role_embedding = nn.Embedding(len(ROLES), channels)
        nn.init.zeros_(self.role_embedding.weight)
        nn.init.normal_(self.role_embedding.weight[CONDITION:], std=0.02)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of the channels."""
        return tuple(self.config["modalities"])

    @property
    def channels(self) -> int:
        """Channels of one modality's latents."""
        return int(self.config["base"]["in_channels"])

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        roles: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """Predictions (B, F, M * C, H, W); zeros for a modality without a head.

        Args:
            hidden_states: (B, F, M * C, H, W), the modalities' latents side by side; what an idle one holds is ignored.
            encoder_hidden_states: text (B, L, E).
            timestep: (B,).
            roles: (B, M) numbers of ROLES.
        """
        frames = hidden_states.shape[1]
        x = self._padded(self._with_roles(hidden_states, roles))
        embedded = self.trunk.patch_embed(encoder_hidden_states, x)
        out = self.finish(embedded, timestep, encoder_hidden_states.shape[1], tuple(x.shape[1:]))
        zero = torch.zeros_like(next(iter(out.values())))
        sample = torch.cat([out.get(name, zero) for name in self.modalities], dim=2)[:, :frames]
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def project(self, name: str, x_BFCHW: Tensor, role_B: Tensor) -> Tensor:
        """One modality's part of the input tokens (B, S, D), without the bias: the parts of all add up to the whole."""
        place = self._place(name)
        x = self._padded(self._with_role(x_BFCHW, role_B))
        values = self.channels * self._patch_size()
        weight = self.trunk.patch_embed.proj.weight.flatten(1)[:, place * values : (place + 1) * values]
        return functional.linear(_patches(x, self._patch_t(), self._patch()), weight)

    def gather(self, tokens_BSD: Sequence[Tensor], text_BLE: Tensor, grid: tuple[int, int, int, int]) -> Tensor:
        """The blocks' input (B, L + S, D) from the modalities' parts; ``grid``: (F, C, H, W) of the latents."""
        embed = self.trunk.patch_embed
        frames, _, height, width = grid
        # patch_embed of zero latents holds text, bias and positions; the parts come on top
        blank = torch.zeros(
            text_BLE.shape[0], frames, embed.proj.weight.flatten(1).shape[1] // self._patch_size(), height, width
        ).to(text_BLE)
        whole: Tensor = embed(text_BLE, self._padded(blank)).clone()
        whole[:, text_BLE.shape[1] :] += sum(tokens_BSD)
        return whole

    def states(self, embedded: Tensor, timestep: Tensor, text: int, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the heads read: (B, S, D), and the time's embedding."""
        time = self.trunk.time_embedding(self.trunk.time_proj(timestep).to(embedded.dtype))
        said, h = embedded[:, :text], embedded[:, text:]
        rotary = self._rotary(grid, embedded.device) if self.trunk.config.use_rotary_positional_embeddings else None
        for block in self.trunk.transformer_blocks:
            h, said = block(hidden_states=h, encoder_hidden_states=said, temb=time, image_rotary_emb=rotary)
        return self.trunk.norm_final(h), time

    def finish(self, embedded: Tensor, timestep: Tensor, text: int, grid: Sequence[int]) -> dict[str, Tensor]:
        """Blocks and heads: a prediction (B, F, C, H, W) for each modality that has a head."""
        h, time = self.states(embedded, timestep, text, grid)
        return {name: self._unpatch(head(h, time), grid) for name, head in self.heads.items()}

    def _with_roles(self, x: Tensor, roles_BM: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[2] != self.channels * len(self.modalities):
            expected = f"(B, F, {len(self.modalities)} x {self.channels}, H, W)"
            raise InputError(f"latents have the shape {tuple(x.shape)}, {expected} is expected.")
        parts = torch.split(x, self.channels, dim=2)
        return torch.cat([self._with_role(part, roles_BM[:, m]) for m, part in enumerate(parts)], dim=2)

    def _with_role(self, x_BFCHW: Tensor, role_B: Tensor) -> Tensor:
        present = (role_B != IDLE).to(x_BFCHW.dtype)[:, None, None, None, None]
        embedding: Tensor = self.role_embedding(role_B)
        return x_BFCHW * present + embedding[:, None, :, None, None].to(x_BFCHW.dtype)

    def _place(self, name: str) -> int:
        if name not in self.modalities:
            raise InputError(f"{name!r} is no modality of this model; {suggest(name, list(self.modalities))}")
        return self.modalities.index(name)

    def _patch(self) -> int:
        return int(self.trunk.config.patch_size)

    def _patch_t(self) -> int:
        return int(self.trunk.config.patch_size_t or 1)

    def _patch_size(self) -> int:
        return self._patch() ** 2 * self._patch_t()

    def _padded(self, x: Tensor) -> Tensor:
        """Repeats the first frame in front until the frames are whole patches, as CogVideoX 1.5 does."""
        short = -x.shape[1] % self._patch_t()
        return torch.cat([x[:, :1].expand(-1, short, -1, -1, -1), x], dim=1) if short else x

    def _unpatch(self, y_BSV: Tensor, grid: Sequence[int]) -> Tensor:
        p, p_t = self._patch(), self._patch_t()
        frames, _, height, width = grid
        y = y_BSV.reshape(y_BSV.shape[0], frames // p_t, height // p, width // p, -1, p_t, p, p)
        return y.permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(1, 2)

    def _rotary(self, grid: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rotary positions as CogVideoX's own pipeline computes them, for 1.0 (scaled to its size) and for 1.5."""
        config, p = self.trunk.config, self._patch()
        rows, columns = grid[2] // p, grid[3] // p
        most = (config.sample_height // p, config.sample_width // p)
        how: dict[str, Any] = {"crops_coords": None, "grid_type": "slice", "max_size": most}
        if config.patch_size_t is None:
            how = {"crops_coords": get_resize_crop_region_for_grid((rows, columns), most[1], most[0])}  # type: ignore[no-untyped-call]
        found: Any = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            grid_size=(rows, columns),
            temporal_size=grid[0] // self._patch_t(),
            device=device,
            **how,
        )
        cosines, sines = found
        return cosines, sines


def tiny(
    modalities: Sequence[str], outputs: Sequence[str] | None = None, *, width: int = 96, layers: int = 4, text: int = 64
) -> OmniTransformer3D:
    """The small model that ships: CogVideoX blocks for 4 x 4 x 4 latents, gates and heads begun at zero (DiT).

    The width must not be below the values per token (modalities x channels), or the loss stalls.
    """
    trunk = {
        "num_attention_heads": width // 32,
        "attention_head_dim": 32,
        "in_channels": 16,
        "time_embed_dim": 64,
        "text_embed_dim": text,
        "num_layers": layers,
        "sample_width": 4,
        "sample_height": 4,
        "sample_frames": 4,
        "temporal_compression_ratio": 1,
        "patch_size": 1,
        "patch_size_t": 1,
        "max_text_seq_length": TEXT_TOKENS,
        "spatial_interpolation_scale": 1.0,
    }
    model: OmniTransformer3D = OmniTransformer3D(trunk, list(modalities), list(outputs) if outputs else None)
    for block in model.trunk.transformer_blocks:
        for norm in (block.norm1, block.norm2):
            nn.init.zeros_(norm.linear.weight)
            nn.init.zeros_(norm.linear.bias)
    for name, parameter in model.heads.named_parameters():
        if name.endswith("proj_out.weight"):
            nn.init.zeros_(parameter)
    return model


def from_cogvideox(
    transformer: Any, modalities: Sequence[str] = ("rgb", "depth", "segment", "edges")
) -> OmniTransformer3D:
    """Widens a text-to-video CogVideoX: zero input columns for the new modalities, a copy of its head for each.

    The first modality then is what the transformer made before. Raises UnsupportedModelError for one that has inputs
    besides the video (image-to-video), InputError without modalities.
    """
    config = {k: v for k, v in transformer.config.items() if not k.startswith("_")}
    if config["in_channels"] != config["out_channels"] or config.get("ofs_embed_dim"):
        raise UnsupportedModelError(
            f"this CogVideoX reads {config['in_channels']} channels and makes {config['out_channels']}: made "
            "for image-to-video; take a text-to-video one."
        )
    if not modalities or len(set(modalities)) != len(modalities):
        raise InputError(f"modalities={list(modalities)} must be one or more different names.")
    with torch.device(next(transformer.parameters()).device):
        model: OmniTransformer3D = OmniTransformer3D(config, list(modalities))
    old = transformer.state_dict()
    shared = {f"trunk.{name}": value for name, value in old.items() if not name.startswith(("norm_out.", "proj_out."))}
    narrow = shared.pop("trunk.patch_embed.proj.weight")
    wide = torch.zeros_like(model.trunk.patch_embed.proj.weight)
    wide[:, : narrow.shape[1]] = narrow
    heads = {
        f"heads.{head}.{name}": value
        for head in modalities
        for name, value in old.items()
        if name.startswith(("norm_out.", "proj_out."))
    }
    roles = {"role_embedding.weight": model.role_embedding.weight}
    model.load_state_dict({**shared, **heads, **roles, "trunk.patch_embed.proj.weight": wide})
    return model if model.dtype == transformer.dtype else model.to(transformer.dtype)


def _patches(x_BFCHW: Tensor, p_t: int, p: int) -> Tensor:
    """(B, S, C * p_t * p * p), channel-major, as CogVideoX orders them."""
    b, f, c, h, w = x_BFCHW.shape
    x = x_BFCHW.reshape(b, f // p_t, p_t, c, h // p, p, w // p, p)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
