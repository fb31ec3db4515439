"""The file format: order, prefixes, truncation, storages, what safetensors makes of it."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from aiflow.collaboration.familial import store
from aiflow.errors import InputError, WeightsError


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "z": torch.randn(7, 5),
        "a": torch.randn(3),
        "m.weight": torch.randn(6, 4) * torch.logspace(-6, 3, 6)[:, None],
        "ids": torch.arange(9).reshape(3, 3),
        "flag": torch.tensor(True),
        "empty": torch.zeros(0, 4),
    }


@pytest.mark.parametrize("storage", ["float32", "bfloat16", None])
def test_safetensors_reads_the_file_and_the_order_is_ours(tmp_path: Path, storage: store.Storage | None) -> None:
    path, given = tmp_path / "x.safetensors", tensors()
    store.write(path, given, storage=storage, metadata={"k": "v"})
    loaded, reader = load_file(path), store.Reader(path)
    assert reader.names == list(given)
    assert reader.metadata == {"k": "v"}
    for name, value in given.items():
        kept = value.to(getattr(torch, storage)) if storage and value.is_floating_point() else value
        assert torch.equal(loaded[name], kept)
        assert torch.equal(reader.read(name), kept)
    assert [reader.end(name) for name in given] == sorted(reader.end(name) for name in given)


def test_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    given = {k: v for k, v in tensors().items() if v.dim()}
    given["half"] = torch.randn(3, 2, dtype=torch.float16)
    save_file(given, tmp_path / "x.safetensors")
    reader = store.Reader(tmp_path / "x.safetensors")
    assert set(reader.names) == set(given)
    assert all(torch.equal(reader.read(name), value) for name, value in given.items())


def test_int8_rows_are_within_half_a_step(tmp_path: Path) -> None:
    path, given = tmp_path / "x.safetensors", tensors() | {"zero": torch.zeros(2, 3)}
    store.write(path, given, storage="int8")
    reader = store.Reader(path)
    assert reader.names == list(given)  # the scales are not tensors of the model
    for name in ("z", "m.weight", "zero"):
        step = given[name].abs().amax(1, keepdim=True) / 127
        assert bool(((reader.read(name) - given[name]).abs() <= step * 0.5001).all())
        assert torch.equal(reader.read(name, rows=2), reader.read(name)[:2])
    assert torch.equal(reader.read("a"), given["a"].bfloat16())  # not a matrix
    assert torch.equal(reader.read("ids"), given["ids"])
    assert reader.read("z", dtype=torch.float64).dtype == torch.float64


def test_rows_cost_only_their_bytes(tmp_path: Path) -> None:
    path, value = tmp_path / "x.safetensors", torch.randn(100, 10)
    store.write(path, [("before", torch.zeros(1000)), ("x", value)])
    reader = store.Reader(path)
    opened = reader.bytes_read
    assert torch.equal(reader.read("x", rows=3), value[:3])
    assert reader.bytes_read - opened == 3 * 10 * 4
    assert torch.equal(reader.read("x", rows=slice(90, 95)), value[90:95])
    assert reader.bytes_read - opened == 8 * 10 * 4
    assert reader.read("x", rows=slice(5, 5)).shape == (0, 10)
    for rows in (101, -1, slice(0, 10, 2)):
        with pytest.raises(InputError):
            reader.read("x", rows=rows)


def test_a_cut_file_gives_what_stands_before_the_cut(tmp_path: Path) -> None:
    path, given = tmp_path / "x.safetensors", {"first": torch.randn(4, 4), "second": torch.randn(4, 4)}
    store.write(path, given)
    keep = store.Reader(path).end("first")
    path.write_bytes(path.read_bytes()[: keep + 20])
    reader = store.Reader(path)
    assert torch.equal(reader.read("first"), given["first"])
    assert torch.equal(reader.read("second", rows=1), given["second"][:1])
    with pytest.raises(WeightsError, match=rf"'second' needs {keep + 64:,} bytes, the file has {keep + 20:,}"):
        reader.read("second")


def test_damaged_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(WeightsError, match="there is no file"):
        store.Reader(path)

    def header(entries: object) -> bytes:
        text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text

    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    bad = [
        b"",
        b"\x08\0\0\0\0\0\0\0{}",
        struct.pack("<Q", 1 << 62) + b"{}",
        header(b"not json"),
        header([1]),
        header({"x": entry | {"shape": [3]}}),
        header({"x": entry | {"shape": [-2]}}),
        header({"x": entry | {"dtype": "F7"}}),
        header({"x": entry | {"data_offsets": [8]}}),
        header({"x": {"dtype": "F32"}}),
    ]
    for data in bad:
        path.write_bytes(data + b"\0" * 8 if data.startswith(b"{") else data)
        with pytest.raises(WeightsError):
            store.Reader(path)
    path.write_bytes(header({"x": entry}) + bytes(8))  # control: the same entry unharmed
    assert torch.equal(store.Reader(path).read("x"), torch.zeros(2))
    with pytest.raises(WeightsError, match="no tensor 'y'"):
        store.Reader(path).read("y")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    store.write(path, {"x": torch.ones(2, 2)})
    with pytest.raises(WeightsError, match="not finite"):
        store.write(path, {"x": torch.full((2, 2), torch.inf)}, storage="int8")
    with pytest.raises(InputError, match="int4"):
        store.write(path, {"x": torch.ones(2, 2)}, storage="int4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two tensors"):
        store.write(path, [("x", torch.ones(1)), ("x", torch.ones(1))])
    with pytest.raises(InputError, match="two tensors"):
        store.write(path, [("x.scale", torch.ones(1)), ("x", torch.ones(2, 2))], storage="int8")
    assert torch.equal(store.Reader(path).read("x"), torch.ones(2, 2))
    assert [item.name for item in tmp_path.iterdir()] == ["x.safetensors"]


def test_lazy_tensors_are_made_one_by_one_and_storage_may_depend_on_the_name(tmp_path: Path) -> None:
    made: list[str] = []

    def lazy(name: str, value: torch.Tensor) -> store.Lazy:
        return store.Lazy(shape=tuple(value.shape), dtype=value.dtype, load=lambda: (made.append(name), value)[1])

    path, given = tmp_path / "x.safetensors", tensors()
    pairs = ((name, lazy(name, value)) for name, value in given.items())
    store.write(path, pairs, storage=lambda name: "bfloat16" if name == "z" else None)
    assert made == list(given)
    reader = store.Reader(path)
    assert torch.equal(reader.read("z"), given["z"].bfloat16())
    assert torch.equal(reader.read("m.weight"), given["m.weight"])
    wrong = store.Lazy(shape=(3,), dtype=torch.float32, load=lambda: torch.ones(2))
    with pytest.raises(InputError, match="announced"):
        store.write(path, {"x": wrong})
