"""Random vision language models of every kind that feature compression knows, a hundred thousand weights each, and
their image processors: transformers' own classes, so that what runs with them runs with the models people use."""

from typing import Any

import torch

KINDS = ("llava", "llava_onevision", "qwen2_vl", "qwen2_5_vl")
VOCABULARY, IMAGE = 60, 57
SIDE, PATCH = 56, 14
"""Pixels of an image (or tile) and of a patch: 4 x 4 patches."""
PINPOINTS = [[rows * SIDE, columns * SIDE] for rows in (1, 2, 3) for columns in (1, 2, 3)]
QWEN_PIXELS = {"shortest_edge": 4 * (2 * PATCH) ** 2, "longest_edge": 64 * (2 * PATCH) ** 2}
"""4 to 64 features of an image."""
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}


def model(kind: str, *, decoder: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random float32 model.

    Args:
        kind: one of ``KINDS``.
        decoder: "llama", "qwen2" or "mistral", of a LLaVA.
        seed: of its weights, which are large enough that every part matters.
        changes: of the outer config.
    """
    import transformers as hf

    torch.manual_seed(seed)
    make = {
        "llava": hf.LlavaForConditionalGeneration,
        "llava_onevision": hf.LlavaOnevisionForConditionalGeneration,
        "qwen2_vl": hf.Qwen2VLForConditionalGeneration,
        "qwen2_5_vl": hf.Qwen2_5_VLForConditionalGeneration,
    }[kind]
    made: Any = make((_qwen if kind.startswith("qwen") else _llava)(kind, decoder, changes))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    return made.eval()


def _llava(kind: str, decoder: str, changes: dict[str, Any]) -> Any:
    import transformers as hf

    texts = {"llama": hf.LlamaConfig, "qwen2": hf.Qwen2Config, "mistral": hf.MistralConfig}
    common = {"vision_feature_layer": -1, "tie_word_embeddings": False}
    if kind == "llava":
        return hf.LlavaConfig(
            text_config=texts[decoder](**_TEXT),
            vision_config=hf.CLIPVisionConfig(**_TOWER),
            image_token_id=IMAGE,
            **(common | changes),
        )
    return hf.LlavaOnevisionConfig(
        text_config=hf.Qwen2Config(**_TEXT),
        vision_config=hf.SiglipVisionConfig(**_TOWER, vision_use_head=False),
        image_token_index=IMAGE,
        video_token_index=IMAGE + 1,
        image_grid_pinpoints=PINPOINTS,
        **(common | changes),
    )


def _qwen(kind: str, decoder: str, changes: dict[str, Any]) -> Any:  # noqa: ARG001
    import transformers as hf

    text = _TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    ids = {"image_token_id": IMAGE, "video_token_id": IMAGE + 1, "vision_start_token_id": 55, "vision_end_token_id": 56}
    if kind == "qwen2_vl":
        tower = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": PATCH}
        return hf.Qwen2VLConfig(text_config=text, vision_config=tower, **ids, **changes)
    tower_25: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": PATCH,
        "window_size": 4 * PATCH,  # 2 x 2 features, so that the tower reorders them
        "fullatt_block_indexes": [1],
    }
    return hf.Qwen2_5_VLConfig(text_config=text, vision_config=tower_25, **ids, **changes)


def processor(kind: str) -> Any:
    """The image processor that fits `model`, on Pillow."""
    side = {"height": SIDE, "width": SIDE}
    if kind == "llava":
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        return CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)
    if kind == "llava_onevision":
        from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
            LlavaOnevisionImageProcessorPil,
        )

        return LlavaOnevisionImageProcessorPil(size=side, image_grid_pinpoints=PINPOINTS)
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(size=QWEN_PIXELS, patch_size=PATCH)


def picture(height: int, width: int) -> Any:
    """A drawn picture (`PIL.Image`): a gradient, rings and a cross, nothing in it symmetric."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:height, :width].astype(float)
    rings = np.sin(np.hypot(y - height / 3, x - width / 4) / 7)
    cross = (np.abs(y / height - x / width) < 0.05) | (np.abs(x - width * 0.8) < 3)
    channels = np.stack([255 * x / width, 127 + 127 * rings, np.where(cross, 255, 200 * y / height)], -1)
    return Image.fromarray(channels.astype(np.uint8))
