"""A family on disk: every member comes from a prefix of the file."""

import json
from pathlib import Path

import pytest
import torch

from aiflow.collaboration.familial import files
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.store import Reader
from aiflow.errors import InputError, UnsupportedModelError, WeightsError

KINDS = ("llama", "qwen2", "qwen3", "mistral", "llava")
MEMBERS = [Member(exit=1), Member(exit=2, keep=0.3), Member(exit=3, keep=0), Member(exit=4)]


def same(logits, wanted):
    """Equal but for the last bits, which on some processors depend on where in memory a weight lies."""
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_a_family_survives_the_disk_and_each_member_loads_alone(family, kind, tied, ids, tmp_path):
    made = family(kind, tied=tied).float()
    made.save_pretrained(tmp_path, storage="float32")
    again = Family.from_pretrained(tmp_path)
    assert again.exits == made.exits
    with torch.no_grad():
        for member in MEMBERS:
            wanted = made(ids, member)
            same(again(ids, member), wanted)
            alone = Family.from_pretrained(tmp_path, member=member)
            loaded = member if member.keep == 0 else Member(exit=member.exit)
            same(alone(ids, loaded), wanted)
            assert alone.count(loaded) == made.count(member)


def test_a_prefix_of_the_file_is_enough_for_a_member(family, ids, tmp_path):
    made = family("llama").float()
    made.save_pretrained(tmp_path, storage="float32")
    path = tmp_path / files.WEIGHTS
    names = [n for n in Reader(path).names if n.startswith("branches.2.")]
    end = max(Reader(path).end(n) for n in names)
    whole = path.read_bytes()
    assert end < 0.8 * len(whole)
    path.write_bytes(whole[:end])
    with torch.no_grad():
        alone = Family.from_pretrained(tmp_path, member=Member(exit=2))
        same(alone(ids, Member(exit=2)), made(ids, Member(exit=2)))
    with pytest.raises(WeightsError, match="bytes"):
        Family.from_pretrained(tmp_path)
    path.write_bytes(whole[: end - 1])
    with pytest.raises(WeightsError):
        Family.from_pretrained(tmp_path, member=Member(exit=2))


def test_a_member_reads_only_what_it_needs(family, tmp_path, monkeypatch):
    made = family("llama").float()
    made.save_pretrained(tmp_path, storage="float32")
    readers: list[Reader] = []

    class Counting(Reader):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            readers.append(self)

    monkeypatch.setattr(files, "Reader", Counting)
    member = Member(exit=1, keep=0.2)
    Family.from_pretrained(tmp_path, member=member)
    needed = 4 * made.count(member)
    assert needed <= readers[0].bytes_read < needed + 30_000  # the header is read too
    assert readers[0].bytes_read < 0.7 * (tmp_path / files.WEIGHTS).stat().st_size


def test_int8_halves_the_file_and_keeps_the_answers_close(family, tmp_path):
    made = family("llama").float()
    for storage in ("bfloat16", "int8"):
        made.save_pretrained(tmp_path / storage, storage=storage)
    sizes = [(tmp_path / s / files.WEIGHTS).stat().st_size for s in ("bfloat16", "int8")]
    assert sizes[1] < 0.75 * sizes[0]  # rows of 32 values carry a scale of 4 bytes
    again = Family.from_pretrained(tmp_path / "int8", dtype=torch.float32)
    for name, value in again.backbone.state_dict().items():
        wanted = made.backbone.state_dict()[name]
        assert (value - wanted).abs().max() <= wanted.abs().max() / 127


def test_unusable_files_are_refused_by_name(family, tmp_path):
    with pytest.raises(WeightsError, match=r"config.json is missing"):
        Family.from_pretrained(tmp_path)
    made = family("llama").float()
    made.save_pretrained(tmp_path, storage="float32")
    with pytest.raises(InputError, match="exit 7 is not in this family; its exits are 1, 2, 3, 4"):
        Family.from_pretrained(tmp_path, member=Member(exit=7))
    with pytest.raises(InputError, match=r"keep=0.9 is not usable; the branch at exit 1 stores"):
        Family.from_pretrained(tmp_path, member=Member(exit=1, keep=0.9))
    with pytest.raises(InputError, match="only a part"):
        Family.from_pretrained(tmp_path, member=Member(exit=1)).save_pretrained(tmp_path / "part")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architecture": "GPT2LMHeadModel"}))
    with pytest.raises(UnsupportedModelError, match="GPT2LMHeadModel"):
        Family.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="does not describe a family"):
        Family.from_pretrained(tmp_path)
