"""A tiny vision family with a feature codec whose adapters matter, for tests of compressed images; all is random."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from speakers import NAMES, tokenizer
from tokenizers import AddedToken
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from aiflow.collaboration.familial.branching import initialise
from aiflow.collaboration.familial.family import Family
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.model import Compressor

SIDE, TOKENS, LEVELS = 56, (2, 5, 16), 2
QUESTION = "What is it?"
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


def picture(seed: int = 0) -> Any:
    """Noise as uint8 pixels (height, width, 3)."""
    return torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8).numpy()


def words() -> Any:
    """The tokenizer."""
    made = tokenizer(NAMES)
    made.chat_template = None
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", normalized=False)]})
    return made


def processor() -> LlavaProcessor:
    """Of pictures and text."""
    side = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False),
        words(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def llava(seed: int = 0) -> Any:
    """Four blocks, 16 features of an image."""
    tok = words()
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(num_hidden_layers=2, image_size=SIDE, patch_size=14, **SIZES),
        text_config=LlamaConfig(
            vocab_size=len(tok), num_hidden_layers=4, num_key_value_heads=2, max_position_embeddings=256,
            bos_token_id=0, eos_token_id=1, pad_token_id=2, initializer_range=0.4, **SIZES,
        ),
        image_token_index=tok.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=16,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config).eval()


def compressor(model: Any, seed: int = 0) -> Compressor:
    """Of a copy of the model; adapters and projector are changed as training might."""
    torch.manual_seed(seed)
    config = CodecConfig(channels=32, basis=12, hidden=12, hyper=4, models=2, levels=LEVELS, tokens=TOKENS)
    made = Compressor(copy.deepcopy(model), config)
    made.prepare(vision_rank=2, text_rank=2)
    with torch.no_grad():
        for name, weight in made.backbone.named_parameters():
            if "lora_B" in name or "multi_modal_projector" in name:
                weight += 0.2 * torch.randn_like(weight)
        for level, step in enumerate(made.codec.step):
            step.fill_(-1.0 - level)
    return made


def family(folder: Path, seed: int = 0, *, profile: bool = True) -> str:
    """A folder with a family, a member ``#2``, the codec, and a profile measured on one picture."""
    model = llava()
    made = Family(model)
    initialise(made, {2: 0.75}, [], whiten=False)
    made.save_pretrained(folder, storage="float32")
    processor().save_pretrained(folder)
    compressor(model, seed).save_pretrained(folder / "tofc", storage="float32")
    if profile:
        rows = [{"tokens": t, "level": n, "bytes_p95": size, "score": size} for (t, n), size in sizes(folder).items()]
        (folder / "tofc" / "profile.json").write_text(json.dumps({"items": 1, "settings": rows}))
    return str(folder)


def whole(folder: Path | str) -> Compressor:
    """The compressor with a model of its own."""
    return Compressor.from_pretrained(Path(folder) / "tofc", Family.from_pretrained(folder).backbone)


def sizes(folder: Path | str) -> dict[tuple[int, int], int]:
    """Bytes of the picture at each setting."""
    made, inputs = whole(folder), processor().image_processor(picture(), return_tensors="pt")
    encoder = Encoder(made.backbone, made.codec)
    return {(t, n): len(encoder.encode(inputs, t, n)) for t in TOKENS for n in range(LEVELS)}
