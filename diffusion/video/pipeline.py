"""Text and any of the modalities to the others, in one process: `OmniVideoPipeline`, an ordinary diffusers pipeline.

Each stage runs without the others' components: latents in (``conditions`` as latents), latents out
(``output_type="latent"``), embeddings instead of a prompt. The same by messages between nodes: ``party``, ``backbone``.

Shapes: clips (B, T, 3, H, W) in [-1, 1]; latents (B, F, C, H, W). Source: AI Flow section IV-B3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from aiflow.diffusion.files import fingerprint, schedule_hash
from aiflow.diffusion.video import autoencoder as autoencoder  # diffusers loads classes only of imported modules
from aiflow.diffusion.video import model as model
from aiflow.diffusion.video.data import MODALITIES
from aiflow.diffusion.video.sampling import GUIDANCE, STEPS, Run, checked_roles, noise
from aiflow.diffusion.words import WordEncoder, tokens
from aiflow.errors import InputError

Callback = Callable[[Any, int, int, dict[str, Any]], Mapping[str, Any] | None]


@dataclass
class OmniVideoOutput(BaseOutput):
    """Clips (or latents) of every modality that is not idle, and what made them.

    ``videos``: generated ones decoded, given ones as they were given. ``roles_used``: what each modality was.
    ``produced``: hashes of model and schedule, steps, guidance, seeds.
    """

    videos: dict[str, Any]
    roles_used: dict[str, str]
    produced: dict[str, Any]


class OmniVideoPipeline(DiffusionPipeline):
    """Transformer, autoencoder, text encoder, tokenizer and scheduler; ``model_hash`` says which weights they are."""

    transformer: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    config: Any

    model_cpu_offload_seq = "text_encoder->transformer->vae"  # type: ignore[assignment]
    _optional_components = ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"]  # noqa: RUF012
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    def __init__(
        self,
        transformer: Any = None,
        vae: Any = None,
        text_encoder: Any = None,
        tokenizer: Any = None,
        scheduler: Any = None,
        modalities: list[str] = list(MODALITIES),  # noqa: B006 (read only; diffusers wants the type)
        model_hash: str = "",
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
        )
        names = list(transformer.modalities) if transformer is not None else list(modalities)
        self.register_to_config(modalities=names, model_hash=model_hash)  # type: ignore[no-untyped-call]

    @property
    def model_hash(self) -> str:
        """The fingerprint of all weights: as saved with the pipeline, or of those it has."""
        said = str(self.config.model_hash)
        return said or fingerprint(*[m for m in (self.transformer, self.text_encoder, self.vae) if m is not None])

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """As any pipeline; the fingerprint of the weights goes with it, so that nodes with a part each can compare."""
        whole = all(m is not None for m in (self.transformer, self.text_encoder, self.vae))
        if whole:
            self.register_to_config(model_hash=fingerprint(self.transformer, self.text_encoder, self.vae))  # type: ignore[no-untyped-call]
        super().save_pretrained(save_directory, *args, **options)

    def encode(self, clip: Any) -> Tensor:
        """A clip (B, T, 3, H, W) in [-1, 1] -> scaled latents (B, F, C, H', W'). Raises InputError."""
        x = checked_clip(clip).to(self.vae.device)
        z = self.vae.encode(x.transpose(1, 2)).latent_dist.mode() * float(self.vae.config.scaling_factor)
        return torch.as_tensor(z).transpose(1, 2).contiguous()

    def decode(self, latents_BFCHW: Tensor) -> Tensor:
        """Scaled latents -> a clip in [-1, 1]."""
        z = latents_BFCHW.transpose(1, 2) / float(self.vae.config.scaling_factor)
        return torch.as_tensor(self.vae.decode(z).sample).transpose(1, 2).clamp(-1, 1).contiguous()

    def embed(self, prompts: Sequence[str], negative: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
        """States of the prompts, and of no prompt (or of the negative one), each (B, L, E). Raises InputError."""
        text = self._states(prompts)
        if negative is not None:
            return text, self._states(negative)
        own = isinstance(self.text_encoder, WordEncoder)
        return text, torch.zeros_like(text) if own else self._states([""] * len(prompts))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        roles: Mapping[str, str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_inference_steps: int = STEPS,
        guidance_scale: float = GUIDANCE,
        seed: int = 0,
        generator: torch.Generator | None = None,
        latents: Mapping[str, Tensor] | None = None,
        prompt_embeds: tuple[Tensor, Tensor] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Generates every modality whose role is ``generate``.

        Args:
            prompt: one per sample; or ``prompt_embeds``: with text and without, as `embed` gives them.
            roles: per modality "generate", "condition" or "idle"; by default what ``conditions`` holds is a condition
                and the rest is generated.
            conditions: clips (B, T, 3, H, W) in [-1, 1], or scaled latents where there is no autoencoder.
            seed: sample b of the batch starts from noise of (seed + b, modality); ``generator``: draws the seed.
            latents: noise to start from instead, per modality.
            output_type: "pt", "np" (both in [-1, 1]), "pil" (a list of frames per sample) or "latent".

        With all modalities given there is nothing to generate: they come back unchanged. Raises InputError.
        """
        if output_type not in ("pt", "np", "pil", "latent"):
            raise InputError(f"output_type={output_type!r} is not known; use 'pt', 'np', 'pil' or 'latent'.")
        conditions = dict(conditions or {})
        roles = checked_roles(
            dict.fromkeys(conditions, "condition") | dict(roles or {}),
            self.transformer.modalities,
            tuple(self.transformer.heads),
        )
        text = prompt_embeds or self.embed(
            _several(prompt), None if negative_prompt is None else _several(negative_prompt)
        )
        batch = text[0].shape[0]
        given = self._given(roles, conditions, batch)
        first = seed if generator is None else int(torch.randint(2**31, (1,), generator=generator))
        seeds = [first + b for b in range(batch)]
        shape = self.latent_shape(next(iter(given.values()), None))
        device = self._execution_device
        x = {name: z.to(device) for name, z in given.items()}
        for name in (n for n, role in roles.items() if role == "generate"):
            x[name] = (noise(seeds, name, shape) if latents is None else latents[name]).to(device)
        text = (text[0].to(device), text[1].to(device))
        run = Run(
            self.transformer, self.scheduler, roles=roles, x=x, text=text, steps=num_inference_steps,
            guidance=guidance_scale, seeds=seeds,
        )  # fmt: skip
        self._denoise(run, num_inference_steps, callback_on_step_end, callback_on_step_end_tensor_inputs)
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        videos = {n: self._shown(run.x[n], conditions.get(n), output_type) for n in roles if roles[n] != "idle"}
        produced = {
            "model": self.model_hash,
            "schedule": schedule_hash(self.scheduler, num_inference_steps),
            "scheduler": type(self.scheduler).__name__,
            "steps": num_inference_steps,
            "guidance": guidance_scale,
            "seeds": seeds,
        }
        return OmniVideoOutput(videos=videos, roles_used=roles, produced=produced) if return_dict else (videos, roles)

    def latent_shape(self, like: Tensor | None = None) -> tuple[int, int, int, int]:
        """(F, C, H, W) of one modality: of the given latents, or what the model was made for.

        Raises InputError for more frames or pixels than that.
        """
        base = self.transformer.trunk.config
        frames = (int(base.sample_frames) - 1) // int(base.temporal_compression_ratio) + 1
        most = (frames, self.transformer.channels, int(base.sample_height), int(base.sample_width))
        if like is None:
            return most
        found = tuple(like.shape[1:])
        if any(a > b for a, b in zip(found, most, strict=True)) or found[1] != most[1]:
            raise InputError(
                f"a condition has latents (F, C, H, W) of {found}, this model reads at most {most}; shorten it."
            )
        return found[0], found[1], found[2], found[3]

    def _denoise(self, run: Run, steps: int, callback: Callback | None, names: Sequence[str]) -> None:
        if not run.generated:
            return
        timesteps = run.steppers[run.generated[0]].timesteps
        with self.progress_bar(total=steps) as bar:
            for k, t in enumerate(timesteps):
                run.step(k, run.velocities(k))
                if callback is not None:
                    changed = callback(self, k, t, {name: dict(run.x) for name in names if name == "latents"}) or {}
                    run.x.update(changed.get("latents", {}))
                bar.update()

    def _given(self, roles: Mapping[str, str], conditions: Mapping[str, Any], batch: int) -> dict[str, Tensor]:
        wanted = [name for name, role in roles.items() if role == "condition"]
        for name in wanted:
            if name not in conditions:
                raise InputError(f"{name} is to be a condition, but conditions[{name!r}] is missing.")
        given = {}
        for name in wanted:
            clip = conditions[name]
            z = torch.as_tensor(clip).float() if self.vae is None else self.encode(clip)
            if z.shape[0] != batch or not torch.isfinite(z).all():
                raise InputError(
                    f"conditions[{name!r}] must be {batch} finite clips, as many as prompts; got {z.shape[0]}."
                )
            given[name] = z
        if len({tuple(z.shape) for z in given.values()}) > 1:
            raise InputError(f"the conditions differ in size: { {n: tuple(z.shape) for n, z in given.items()} }.")
        return given

    def _states(self, texts: Sequence[str]) -> Tensor:
        if isinstance(self.text_encoder, WordEncoder):
            ids, mask = tokens(self.tokenizer, texts)
            return torch.as_tensor(
                self.text_encoder(ids.to(self.text_encoder.device), mask.to(self.text_encoder.device))[0]
            )
        length = int(self.transformer.trunk.config.max_text_seq_length)
        ids = self.tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return torch.as_tensor(self.text_encoder(ids.input_ids.to(self.text_encoder.device))[0])

    def _shown(self, z: Tensor, given: Any, output_type: str) -> Any:
        if output_type == "latent":
            return z
        clip = self.decode(z) if given is None else torch.as_tensor(given)
        if output_type == "pt":
            return clip
        array = clip.cpu().float().numpy()
        return array if output_type == "np" else [images(one) for one in array]


def checked_clip(clip: Any) -> Tensor:
    """A clip as a float tensor (B, T, 3, H, W). Raises InputError for other shapes, NaN, or values beyond [-1, 1]."""
    try:
        x = torch.as_tensor(np.asarray(clip) if not isinstance(clip, Tensor) else clip).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"a clip cannot be read as numbers: {error}") from error
    if x.ndim != 5 or x.shape[2] != 3 or 0 in x.shape:
        raise InputError(f"a clip has the shape {tuple(x.shape)}; (B, T, 3, H, W) is expected.")
    if not torch.isfinite(x).all():
        raise InputError("a clip holds NaN or infinity.")
    if float(x.abs().max()) > 1 + 1e-3:
        raise InputError(f"a clip has values up to {float(x.abs().max()):.4g}; scale them to [-1, 1].")
    return x


def images(clip_T3HW: Any) -> list[Any]:
    """A clip as Pillow images, one per frame."""
    from PIL import Image

    frames = np.clip((np.asarray(clip_T3HW).transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return [Image.fromarray(one) for one in frames]


def _several(prompt: str | Sequence[str] | None) -> list[str]:
    if prompt is None:
        raise InputError("say what is to be generated: `prompt` is missing.")
    return [prompt] if isinstance(prompt, str) else list(prompt)
