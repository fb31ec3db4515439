"""The nano vision language model: a LLaVA of transformers' own classes over the family's text model.

Legend: B images, P patches.
"""

import copy
from typing import Any

import torch

from aiflow.nano import tokenizer as tok

SIDE, PATCH = 64, 8
PATCHES = (SIDE // PATCH) ** 2
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
IMAGE = tok.SPECIALS.index("<image>")
EXPANDED = (2, 5)
"""The text model of 6 blocks gets a new one, the identity at first, after each of these (zero-residual expansion)."""


def vision_config(**changes: Any) -> Any:
    """The CLIP-type tower: 64 patches of 8 x 8 pixels; ``changes`` make smaller ones for tests."""
    from transformers import CLIPVisionConfig

    sizes = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "attention_dropout": 0.0,
    }
    return CLIPVisionConfig(**{**sizes, **changes})


def build_tower(seed: int, **changes: Any) -> Any:
    """A fresh ``CLIPVisionModel`` (fp32)."""
    from transformers import CLIPVisionModel

    torch.manual_seed(seed)
    return CLIPVisionModel(vision_config(**changes))


def build(text: Any, tower: Any, seed: int) -> Any:
    """A ``LlavaForConditionalGeneration`` (fp32) over a text model and a tower; only the projector is new."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    text_config = copy.deepcopy(text.config)
    config = LlavaConfig(
        text_config=text_config,
        vision_config=tower.config,
        image_token_id=IMAGE,
        image_seq_length=PATCHES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=text_config.tie_word_embeddings,
    )
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, key, getattr(text_config, key))
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.tie_weights()
    return model


@torch.no_grad()
def settle(model: Any, images: Any) -> None:
    """Starts the projector's first layer with whitened features of the tower, measured on ``images`` (B, 64, 64, 3).

    What tells two characters apart lies in directions of little variance, under a large common offset; from standard
    initial weights the projector finds them many times later.
    """
    states = model.model.vision_tower(pixels(images), output_hidden_states=True).hidden_states[-1][:, 1:]
    features = states.flatten(0, 1).double()
    mean = features.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    white = vectors / (values + 1e-5 * values[-1]).sqrt()
    layer = model.model.multi_modal_projector.linear_1
    mixing = torch.randn(layer.weight.shape, dtype=torch.float64) * features.shape[1] ** -0.5
    layer.weight.copy_(mixing @ white.T)
    layer.bias.copy_(-layer.weight.double() @ mean)


def processor(tokenizer: Any) -> Any:
    """The ``LlavaProcessor`` of the family."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(
        size=side, crop_size=side, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD)
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=tok.TEMPLATE,
    )


def pixels(images: Any) -> torch.Tensor:
    """uint8 images (B, 64, 64, 3) -> normalised pixels (B, 3, 64, 64), as the processor makes them."""
    x = torch.as_tensor(images).clone().permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
