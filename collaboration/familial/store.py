"""A safetensors file whose tensors stand in the order we choose, so that a prefix of the file is useful by itself.

The format is the ordinary one (u64 header length, JSON header, raw little-endian data) and ``safetensors`` reads it;
its own writer sorts tensors by dtype and name, ours does not. int8 storage is ours: a matrix becomes rows of int8 and,
right before it, ``<name>.scale`` with one float32 per row (symmetric, absmax / 127). A Reader reads only the bytes it
is asked for, so a file that was cut short still gives all that came before the cut. Knows nothing of models.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from aiflow.errors import InputError, WeightsError

Storage = Literal["float32", "bfloat16", "int8"]
STORAGES: tuple[Storage, ...] = ("float32", "bfloat16", "int8")
SCALE = ".scale"

_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
_LENGTH = struct.Struct("<Q")
_HEADER_LIMIT = 100_000_000  # the limit of the safetensors library


@dataclass(frozen=True, kw_only=True)
class Lazy:
    """A tensor that is made when its turn to be written comes: shape and dtype are known before."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Span:
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def write(
    path: Path,
    tensors: Mapping[str, Tensor | Lazy] | Iterable[tuple[str, Tensor | Lazy]],
    *,
    storage: Storage | Callable[[str], Storage | None] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the tensors in the given order; one at a time is in memory when they are Lazy.

    ``storage``: how floating-point tensors are kept; None: each in its own dtype; a function decides by name. int8
    applies to matrices, any other floating-point tensor is then bfloat16. The file appears whole or not at all
    (``.part``, then rename). Raises InputError for a storage, dtype or name that cannot be used, WeightsError for
    values that are not finite in a matrix to be quantised.
    """
    pairs = list(tensors.items() if isinstance(tensors, Mapping) else tensors)
    chosen = [(name, tensor, _storage(name, tensor, storage)) for name, tensor in pairs]
    header = _header(chosen, metadata or {"format": "pt"})
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(header)
            for name, tensor, kind in chosen:
                _write_one(file, name, tensor, kind)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _storage(name: str, tensor: Tensor | Lazy, storage: Any) -> Storage | None:
    kind = storage(name) if callable(storage) else storage
    if kind is not None and kind not in STORAGES:
        raise InputError(f"unknown storage {kind!r} for {name!r}; use one of {', '.join(STORAGES)}, or None.")
    if kind is None or not tensor.dtype.is_floating_point:
        return None
    return "bfloat16" if kind == "int8" and len(tensor.shape) != 2 else kind


def _header(chosen: list[tuple[str, Tensor | Lazy, Storage | None]], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0

    def add(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        nonlocal at
        if name in entries:
            raise InputError(f"two tensors are called {name!r}; give each its own name.")
        if dtype not in _CODES:
            raise InputError(f"tensor {name!r} has dtype {dtype}, which cannot be stored; convert it first.")
        end = at + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end

    for name, tensor, kind in chosen:
        shape = tuple(tensor.shape)
        if kind == "int8":
            add(name + SCALE, torch.float32, shape[:1])
        add(name, getattr(torch, kind) if kind else tensor.dtype, shape)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text


def _write_one(file: BinaryIO, name: str, tensor: Tensor | Lazy, kind: Storage | None) -> None:
    value = (tensor.load() if isinstance(tensor, Lazy) else tensor).detach().cpu()
    if tuple(value.shape) != tuple(tensor.shape) or value.dtype != tensor.dtype:
        raise InputError(f"tensor {name!r} was announced as {tensor.shape} {tensor.dtype}, got {value.shape}.")
    if kind == "int8":
        rows, scale = quantise(value, name)
        file.write(_bytes(scale))
        file.write(_bytes(rows))
    else:
        file.write(_bytes(value.to(getattr(torch, kind)) if kind else value))


def quantise(value_RC: Tensor, name: str = "the tensor") -> tuple[Tensor, Tensor]:
    """(R, C) int8 and (R,) float32: per row, scale = absmax / 127, so the error is at most scale / 2 per value."""
    value_RC = value_RC.float()
    largest_R = value_RC.abs().amax(1) if value_RC.shape[1] else value_RC.new_zeros(len(value_RC))
    if not bool(torch.isfinite(largest_R).all()):
        raise WeightsError(f"{name!r} holds values that are not finite; int8 cannot store them.")
    scale_R = torch.where(largest_R > 0, largest_R / 127, 1.0)
    return (value_RC / scale_R[:, None]).round().clamp(-127, 127).to(torch.int8), scale_R


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


class Reader:
    """Reads tensors, or their first rows, and touches only their bytes.

    ``names`` are in file order, without the scales of int8 matrices. ``bytes_read`` counts every byte taken from the
    file, its header included. Raises WeightsError for a file that is missing, damaged or too short.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bytes_read = Path(path), 0
        self.size = self.path.stat().st_size if self.path.is_file() else -1
        if self.size < 0:
            raise WeightsError(f"there is no file {self.path}; download or write the model again.")
        self.metadata, self._spans = self._open()
        scales = {name + SCALE for name, span in self._spans.items() if self._scaled(name, span)}
        self.names = [name for name in self._spans if name not in scales]

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._span(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """The dtype that ``read`` gives without one: the stored one, float32 for an int8 matrix with scales."""
        span = self._span(name)
        return torch.float32 if self._scaled(name, span) else span.dtype

    def end(self, name: str) -> int:
        """Length in bytes of the shortest prefix of the file that holds the whole tensor."""
        return self._span(name).end

    def read(self, name: str, rows: slice | int | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor, or its rows: an int h means the first h, a slice must have step 1.

        Dequantises int8 matrices. ``dtype``: what to convert to; None: see ``dtype``.
        """
        span = self._span(name)
        value = self._rows(name, span, rows)
        if self._scaled(name, span):
            value = value.float() * self._rows(name + SCALE, self._spans[name + SCALE], rows)[:, None]
        return value if dtype is None else value.to(dtype)

    def _span(self, name: str) -> _Span:
        if name not in self._spans:
            raise WeightsError(f"{self.path} holds no tensor {name!r}; it belongs to another model or version.")
        return self._spans[name]

    def _scaled(self, name: str, span: _Span) -> bool:
        scale = self._spans.get(name + SCALE)
        return span.dtype == torch.int8 and scale is not None and scale.shape == span.shape[:1]

    def _rows(self, name: str, span: _Span, rows: slice | int | None) -> Tensor:
        if rows is None:
            return self._take(name, span, span.begin, span.end, span.shape)
        if not span.shape:
            raise InputError(f"{name!r} is a scalar and has no rows.")
        asked = slice(0, rows) if isinstance(rows, int) else rows
        start, stop, step = asked.indices(span.shape[0])
        if step != 1 or (isinstance(rows, int) and not 0 <= rows <= span.shape[0]):
            raise InputError(f"rows {rows} of {name!r} cannot be read: it has {span.shape[0]} rows, step must be 1.")
        stop = max(start, stop)
        width = math.prod(span.shape[1:]) * span.dtype.itemsize
        begin, end = span.begin + start * width, span.begin + stop * width
        return self._take(name, span, begin, end, (stop - start, *span.shape[1:]))

    def _take(self, name: str, span: _Span, begin: int, end: int, shape: tuple[int, ...]) -> Tensor:
        if end > self.size:
            raise WeightsError(
                f"{self.path} is cut short: {name!r} needs {end:,} bytes, the file has {self.size:,}; "
                "download it again or load a smaller member."
            )
        raw = torch.empty(end - begin, dtype=torch.uint8)
        with self.path.open("rb") as file:
            file.seek(begin)
            got = file.readinto(raw.numpy().data) if end > begin else 0
        self.bytes_read += got
        if got != end - begin:
            raise WeightsError(f"{self.path} changed while it was read: {name!r} got {got:,} of {end - begin:,} bytes.")
        return raw.view(span.dtype).reshape(shape)

    def _open(self) -> tuple[dict[str, str], dict[str, _Span]]:
        with self.path.open("rb") as file:
            first = file.read(_LENGTH.size)
            length = _LENGTH.unpack(first)[0] if len(first) == _LENGTH.size else 0
            text = file.read(length) if 0 < length <= _HEADER_LIMIT else b""
        self.bytes_read += len(first) + len(text)
        if not text or len(text) < length:
            raise WeightsError(f"the header of {self.path} is damaged or cut short; download the file again.")
        try:
            entries = json.loads(text)
            metadata = entries.pop("__metadata__", {})
            spans = {name: _span(entry, _LENGTH.size + length) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(f"the header of {self.path} cannot be read ({error}); download it again.") from error
        return metadata, dict(sorted(spans.items(), key=lambda item: item[1].begin))


def _span(entry: Any, data: int) -> _Span:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]
    if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
        raise ValueError(f"shape {shape} at {begin}..{end}")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"shape {shape} of {dtype} does not fill {begin}..{end}")
    return _Span(dtype=dtype, shape=shape, begin=data + begin, end=data + end)
