"""Loading: only pipelines of aiflow, with errors that name the folder and the remedy."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from aiflow.diffusion.files import fingerprint, folder, load, schedule_hash, system
from aiflow.errors import UnknownModelError, WeightsError


def index(path: Path, text: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "model_index.json").write_text(text)
    return path


def test_a_folder_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no model_index\.json"):
        folder(tmp_path)
    with pytest.raises(UnknownModelError, match="did you mean 'motion'"):
        folder("moton")


def test_a_damaged_or_foreign_index(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}"):
        with pytest.raises(WeightsError, match="cannot be read"):
            system(index(tmp_path, text))
    with pytest.raises(UnknownModelError, match="'StableDiffusionPipeline', which is no pipeline of aiflow"):
        load(index(tmp_path, json.dumps({"_class_name": "StableDiffusionPipeline"})))


def test_fingerprint_sees_every_weight_name_and_shape_but_not_the_dtype() -> None:
    torch.manual_seed(0)
    a = nn.Linear(3, 2)
    before = fingerprint(a)
    assert fingerprint(a) == before
    assert len(before) == 16
    with torch.no_grad():
        a.bias[1] += 1e-6
    assert fingerprint(a) != before
    whole = nn.Linear(2, 2).half()
    assert fingerprint(whole) == fingerprint(whole.float())
    assert fingerprint(nn.Sequential(whole)) != fingerprint(whole)


def test_schedules_differ_by_steps_options_and_class() -> None:
    one = DDIMScheduler()
    assert schedule_hash(one, 20) == schedule_hash(DDIMScheduler(), 20)
    others = [schedule_hash(one, 21), schedule_hash(DDIMScheduler(clip_sample=False), 20)]
    assert schedule_hash(one, 20) not in others
