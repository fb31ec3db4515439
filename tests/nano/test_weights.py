"""The weights that ship: they load, answer, and are small."""

import json
from pathlib import Path

import pytest

from aiflow.errors import UnknownModelError
from aiflow.nano import DEVICES, FAMILIES, MODELS, WEIGHTS, resolve
from aiflow.nano.questions import check, suite

shipped = pytest.mark.skipif(not (WEIGHTS / "server" / "adapter_model.safetensors").is_file(), reason="not trained yet")


def test_an_unknown_name_is_told_its_neighbours() -> None:
    with pytest.raises(UnknownModelError, match="nano/math"):
        resolve("nano/maths")


def test_missing_weights_say_how_to_make_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("aiflow.nano.WEIGHTS", tmp_path)
    with pytest.raises(UnknownModelError, match="aiflow train nano"):
        resolve("nano/base")


@shipped
def test_they_are_small_and_name_no_machine() -> None:
    files = [f for f in WEIGHTS.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 32 * 10**6
    for file in files:
        if file.suffix in (".json", ".md", ".jinja"):
            assert not any(p in file.read_text() for p in ("/home/", "/root", "/work", "/tmp")), file
    families = [name for name in FAMILIES if (WEIGHTS / name).is_dir()]
    assert "hpcd" in families
    for family in families:
        assert (WEIGHTS / family / "README.md").is_file()
        assert json.loads((WEIGHTS / family / "training.json").read_text())["stage"] == family
        assert resolve(f"nano/{family}") == (WEIGHTS / family, None)
    for model in MODELS:
        assert (WEIGHTS / model / "README.md").is_file()
        assert json.loads((WEIGHTS / model / "training.json").read_text())["stage"] == model
        base, adapter = resolve(f"nano/{model}")
        assert base.name == "base"
        assert (
            adapter is None
            or json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
            == "aiflow:nano/base"
        )


@shipped
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_answers_merged_and_unmerged_alike(device: str) -> None:
    from aiflow.nano.evaluate import history
    from aiflow.nano.speaker import Speaker

    base, adapter = resolve(f"nano/{device}")
    cases = [(q, t) for q in suite(64) for t in (0, 1) if q.devices[t] == device][:16]
    talks = [history(c) for c in cases]
    merged = Speaker(base, adapter).answer(talks)
    assert merged == Speaker(base, adapter, merge=False).answer(talks)
    measured = json.loads((WEIGHTS / "base" / "scores.json").read_text())["devices"][device]["all"]["score"]
    right = sum(check(*c, text) for c, text in zip(cases, merged, strict=True)) / len(cases)
    assert right >= measured - 0.25, "the answers are worse than the card says"
