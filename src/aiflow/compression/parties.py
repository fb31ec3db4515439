"""The two halves of an answer, a file of few bytes between them: what a device sends, what a server answers to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.compression.dialogues import Writer
from aiflow.compression.models import load
from aiflow.compression.samples import picture
from aiflow.errors import InputError
from aiflow.families.tables import end
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from aiflow.collaboration.tofc.model import Compressor


def encode(
    name: str, codec: Path, image: Path, *, tokens: int | None, level: int | None, out: Path, device: str, json: bool
) -> None:
    """Writes the message of an image and prints how long it is; the language model takes no part."""
    shown = picture(image)
    seeing = load(name, device=device)
    from aiflow.collaboration.tofc.adapters.halves import device_half
    from aiflow.collaboration.tofc.encoder import Encoder

    made = _compressor(device_half(seeing.model), codec, device)
    config = made.codec.config
    tokens, level = config.tokens[-1] if tokens is None else tokens, config.levels - 1 if level is None else level
    inputs = seeing.images(images=shown, return_tensors="pt")
    data = Encoder(made.backbone, made.codec).encode(inputs, tokens, level)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    size = image.stat().st_size
    print(f"{out}: {show_bytes(len(data))} at {tokens} tokens, level {level} ({image.name} has {show_bytes(size)})")
    end({"bytes": len(data), "tokens": tokens, "level": level, "image_bytes": size}, json)


def answer(name: str, codec: Path, file: Path, question: str, *, limit: int, device: str, json: bool) -> None:
    """Prints the answer to a question on the image in a message; the vision tower takes no part."""
    if not question.strip():
        raise InputError("the question is empty; pass some text.")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{str(file)!r} cannot be read ({type(error).__name__}); make it by `aiflow tofc encode`."
        ) from None
    seeing = load(name, device=device)
    from aiflow.collaboration.tofc.adapters.halves import server_half
    from aiflow.collaboration.tofc.decoder import Decoder

    made = _compressor(server_half(seeing.model), codec, device)
    decoder = Decoder(made.backbone, made.codec)
    prompt = decoder.prompt(decoder.image(data), Writer(seeing).question(question))
    said = decoder.generate(prompt, limit=limit, stop=seeing.ends)
    text = seeing.tokenizer.decode(said, skip_special_tokens=True).strip()
    print(text)
    end({"answer": text, "bytes": len(data), "tokens": len(said)}, json)


def _compressor(half: Any, codec: Path, device: str) -> "Compressor":
    from aiflow.collaboration.tofc.model import Compressor

    return Compressor.from_pretrained(codec, half).to(device)
