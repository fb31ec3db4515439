"""The weights of a decoder in a folder, read block by block: nobody who holds some blocks ever needs the whole model.

A folder is a transformers model (one safetensors file, or shards with an index) or a family of ours, of the kinds that
`familial.kinds` knows; of a vision language model the language half is read. A plain LoRA adapter is added to the
blocks as they are read, as merging it would.
"""

import hashlib
import json
import math
import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.files import KIND, describe
from aiflow.collaboration.familial.kinds import Parts, new_block, text_config
from aiflow.collaboration.familial.store import Reader
from aiflow.collaboration.partition.cut import Sizes
from aiflow.collaboration.partition.lora import Lora
from aiflow.collaboration.partition.piece import Piece
from aiflow.errors import InputError, UnsupportedModelError, WeightsError

_FIRST = re.compile(r"(.*)layers\.0\.self_attn\.q_proj\.weight")
_SAMPLE = 4  # rows of a matrix by which weights of one shape are told apart


class Checkpoint:
    """Reads pieces of one model. ``config`` is the decoder's; ``sizes`` in bytes as computed with."""

    def __init__(
        self, folder: Path | str, *, adapter: Path | str | None = None, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        """Reads the configuration and the files' headers only.

        ``dtype``: of torch; "auto": as stored. Raises WeightsError, UnsupportedModelError, InputError.
        """
        self.folder, self._device = Path(folder), device
        whole = read_config(self.folder)
        self.config: Any = text_config(whole)
        self.config._attn_implementation = "sdpa"
        image = getattr(whole, "image_token_id", None)
        self._silent = () if image is None else (int(image),)
        stored = str(getattr(whole, "dtype", None) or getattr(self.config, "dtype", None) or "float32")
        self.dtype = stored.removeprefix("torch.") if dtype == "auto" else dtype
        self._torch: Any = getattr(torch, self.dtype, None)
        if not isinstance(self._torch, torch.dtype) or not self._torch.is_floating_point:
            raise InputError(f"dtype {dtype!r} is not usable; give float32, bfloat16, float16 or auto.")
        self._files = _files(self.folder)
        self._layers = self._beginning()
        self._lora = Lora(Path(adapter)) if adapter is not None else None
        heads = [name for name in self._files if name.endswith("lm_head.weight")]
        tied = bool(getattr(whole, "tie_word_embeddings", False)) or not heads
        self._head = f"{self._layers}embed_tokens.weight" if tied else heads[0]
        self.depth, self.width = int(self.config.num_hidden_layers), int(self.config.hidden_size)
        self.vocabulary = self._reader(self._head).shape(self._head)[0]
        self.sizes = self._sizes(tied)
        self.model = self._fingerprint()

    @property
    def bytes_read(self) -> int:
        """Bytes that were taken from the files so far."""
        return sum(reader.bytes_read for reader in {id(r): r for r in self._files.values()}.values())

    def piece(self, begin: int, end: int, before: Piece | None = None) -> Piece:
        """Blocks ``begin`` .. ``end`` - 1; what ``before`` has of them is taken over, not read again.

        The caller lets go of ``before``, so that what is not needed is freed. Raises InputError, WeightsError.
        """
        if not 0 <= begin < end <= self.depth:
            raise InputError(f"blocks {begin}..{end - 1} are not usable; the model has the blocks 0..{self.depth - 1}.")
        there = dict(before.blocks) if before is not None else {}
        blocks = {i: there[i] if i in there else self._block(i) for i in range(begin, end)}
        embed = head = norm = None
        if begin == 0:
            embed = self._embedding(before)
        if end == self.depth:
            norm, head = (None, None) if before is None else (before.norm, before.head)
            norm = norm or self._norm(blocks[end - 1])
            if head is None or (self.sizes.tied and embed is not None):
                head = self._linear(embed)
        return Piece(
            begin=begin,
            end=end,
            depth=self.depth,
            own=self._own(),
            blocks=blocks,
            embed=embed,
            norm=norm,
            head=head,
            model=self.model,
            vocabulary=self.vocabulary,
            width=self.width,
            dtype=self.dtype,
        )

    @property
    def silent(self) -> tuple[int, ...]:
        """Ids that no answer has: an image's."""
        return self._silent

    def blank(self) -> tuple[Parts, Any]:
        """A block with weights of zero, to be timed."""
        with torch.device("meta"):
            block = new_block(self.config, 0)
        return self._own(), block.to(self._torch).to_empty(device=self._device).requires_grad_(False).eval().apply(
            _zero
        )

    def _own(self) -> Parts:
        rotary = _rotary(self.config).to(self._device)
        return Parts(text=SimpleNamespace(rotary_emb=rotary), head=None, config=self.config)

    def _block(self, index: int) -> Any:
        with torch.device("meta"):
            block = new_block(self.config, index)
        for name, _ in list(block.named_parameters()):
            parent, _, leaf = name.rpartition(".")
            value = self._read(f"{self._layers}layers.{index}.{name}")
            if self._lora is not None:
                value = self._lora.added(value, index, parent).to(self._device)
            block.get_submodule(parent)._parameters[leaf] = nn.Parameter(value, requires_grad=False)
        return block.eval()

    def _embedding(self, before: Piece | None) -> Any:
        if before is not None and before.embed is not None:
            return before.embed
        if before is not None and before.head is not None and self.sizes.tied:
            weight = before.head.weight
        else:
            weight = nn.Parameter(self._read(f"{self._layers}embed_tokens.weight"), requires_grad=False)
        embed = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
        embed.weight = weight
        return embed

    def _norm(self, block: Any) -> Any:
        with torch.device("meta"):
            norm = type(block.input_layernorm)(self.width, eps=self.config.rms_norm_eps)
        norm.weight = nn.Parameter(self._read(f"{self._layers}norm.weight"), requires_grad=False)
        return norm

    def _linear(self, embed: Any) -> Any:
        shared = self.sizes.tied and embed is not None
        weight = embed.weight if shared else nn.Parameter(self._read(self._head), requires_grad=False)
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        head.weight = weight
        return head

    def _read(self, name: str) -> Tensor:
        return self._reader(name).read(name, dtype=self._torch).to(self._device)

    def _reader(self, name: str) -> Reader:
        if name not in self._files:
            raise WeightsError(f"{self.folder} holds no tensor {name!r}; it is damaged, fetch it again.")
        return self._files[name]

    def _beginning(self) -> str:
        """What the decoder's names begin with."""
        found = [m[1] for name in self._files if "vision" not in name and (m := _FIRST.fullmatch(name))]
        if len(found) != 1:
            raise UnsupportedModelError(
                f"{self.folder} has {len(found)} decoders with blocks in its weights, not one; "
                "use a transformers model of the Llama, Qwen2, Qwen3 or Mistral kind."
            )
        return found[0]

    def _sizes(self, tied: bool) -> Sizes:
        each = [
            sum(self._bytes(name) for name in self._files if name.startswith(f"{self._layers}layers.{i}."))
            for i in range(self.depth)
        ]
        config = self.config
        size = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        item = self._torch.itemsize
        return Sizes(
            blocks=tuple(map(float, each)),
            embed=float(self._bytes(f"{self._layers}embed_tokens.weight")),
            norm=float(self._bytes(f"{self._layers}norm.weight")),
            head=float(self._bytes(self._head)),
            tied=tied,
            cache=float(2 * config.num_key_value_heads * size * item),
            activation=self.width * item,
        )

    def _bytes(self, name: str) -> int:
        return math.prod(self._reader(name).shape(name)) * int(self._torch.itemsize)

    def _fingerprint(self) -> str:
        """Of shapes, dtype, and some rows of the first block and the embeddings."""
        names = [f"{self._layers}layers.0.self_attn.q_proj.weight", f"{self._layers}embed_tokens.weight"]
        shapes = {name: list(reader.shape(name)) for name, reader in self._files.items()}
        found = hashlib.blake2b(json.dumps([shapes, self.dtype], sort_keys=True).encode(), digest_size=8)
        for name in names:
            found.update(self._reader(name).read(name, _SAMPLE).float().numpy().tobytes())
        if self._lora is not None:
            found.update(self._lora.sample)
        return found.hexdigest()


def read_config(folder: Path) -> Any:
    """The whole model's configuration. Raises WeightsError, UnsupportedModelError."""
    from transformers import AutoConfig

    path = folder / "config.json"
    try:
        kind = json.loads(path.read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); give a folder with a model.") from None
    if kind == KIND:
        fields = dict(describe(folder).backbone)
        return AutoConfig.for_model(fields.pop("model_type"), **fields)
    if str(kind).startswith("aiflow_"):
        raise UnsupportedModelError(f"{folder} is a {kind!r} model, whose blocks cannot be held apart yet.")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} describes no model ({' '.join(str(error).split())[:160]}).") from None


def _files(folder: Path) -> dict[str, Reader]:
    """The reader of each tensor."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        reader = Reader(folder / "model.safetensors")
        return dict.fromkeys(reader.names, reader)
    try:
        shards = dict(json.loads(index.read_text())["weight_map"])
        readers = {name: Reader(folder / Path(name).name) for name in set(shards.values())}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index} cannot be read ({error}); fetch it again.") from None
    return {name: readers[shard] for name, shard in shards.items()}


def _rotary(config: Any) -> Any:
    """The module of rotary angles, as the model's own class has it."""
    kind = config.model_type
    module = import_module(f"transformers.models.{kind}.modeling_{kind}")
    return next(value for name, value in vars(module).items() if name.endswith("RotaryEmbedding"))(config=config)


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data.zero_()
