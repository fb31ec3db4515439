"""Published figures, recomputed from what the models said; only where the recorded answers are at hand."""

import csv
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.suites.vqa import answers, recorded, rules, suite
from aiflow.bench.suites.vqa.data import read
from aiflow.bench.suites.vqa.figures import of_model
from aiflow.bench.suites.vqa.options import infer
from aiflow.bench.suites.vqa.text import relaxed

_ROOT = os.environ.get("AIFLOW_DATA")
DATA = (Path(_ROOT) if _ROOT else Path(__file__).resolve().parents[5] / "shared" / "data") / "vqa"
PUBLISHED = DATA / "recorded" / "published_scores.json"
pytestmark = pytest.mark.skipif(not PUBLISHED.is_file(), reason="the recorded data is not here")
SUITES = ["MME", "SEEDBench_IMG", "OCRBench", "ChartQA_TEST", "RealWorldQA", "ScienceQA_VAL", "TextVQA_VAL", "CCBench"]
SUITES += ["OCRVQA_TESTCORE"]


def fields(files: Mapping[str, str]) -> dict[str, Any]:
    ((name, text),) = files.items()
    row: dict[str, Any] = json.loads(text) if name.endswith(".json") else next(csv.DictReader(io.StringIO(text)))
    return {key: value if key == "split" else float(value) for key, value in row.items()}


@pytest.mark.parametrize("name", SUITES)
def test_every_published_figure_comes_out(name: str) -> None:
    published = json.loads(PUBLISHED.read_bytes())[name]
    found = recorded(name, DATA)
    assert found["suite"] == name
    assert len(found["models"]) == 2
    for model, files in published.items():
        ours, theirs = found["models"][model], fields(files)
        assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)
        assert ours.get("disagree", 0) == 0
    json.dumps(found, allow_nan=False)


def test_headlines() -> None:
    heads = {
        "MME": (1558.5247, 1436.8252),
        "seed-bench": (0.6789, 0.7274),
        "OCRBench": (438, 458),
        "chartqa": (50.88, 58.72),
        "realworldqa": (0.4654, 0.5346),
        "cc bench": (0.3392, 0.2333),
    }
    for name, (small, large) in heads.items():
        models = recorded(name, DATA)["models"]
        assert (round(models["vila_8b"]["score"], 4), round(models["vila_13b"]["score"], 4)) == (small, large)
    assert recorded("MME", DATA)["models"]["vila_13b"]["cognition"] == pytest.approx(288.92857142857144)


def test_the_sample_of_mme_s_own_tool() -> None:
    found = recorded("MME", DATA / "mme_official_sample")["models"]["mme_official_sample"]
    assert (round(found["perception"], 2), round(found["cognition"], 2)) == (963.61, 249.64)
    assert found["n"] == 2374


def test_mmmu_by_its_official_output() -> None:
    models = recorded("MMMU", DATA)["models"]
    assert (models["qwen_vl"]["score"], models["qwen_vl"]["correct"], models["qwen_vl"]["n"]) == (0.361, 325, 900)
    assert models["qwen_vl"]["num"]["Accounting"] == 30
    assert models["llava15_13b"]["n"] == 897


def test_the_options_that_mmmu_s_tool_has_read_are_read() -> None:
    official = json.loads((DATA / "mmmu" / "qwen_vl_total_val_output.json").read_bytes())
    from aiflow.bench.suites.vqa.mmmu import letter

    items = [item for item in read(DATA / "mmmu" / "val_897_questions_4models.jsonl", needs=()) if item.options]
    read_as = {item.id: letter(item.said["qwen_vl"] or "", item.options) for item in items}
    known = {name: found for name, found in read_as.items() if found}
    assert len(known) == 796
    assert all(official[name] == found for name, found in known.items())


@pytest.mark.parametrize(("name", "count"), [("MMMU", 174), ("CCBench", 14), ("MMBench", 40)])
def test_what_has_its_images_here_can_be_asked_live(name: str, count: int) -> None:
    samples = suite(name, DATA).samples
    assert len(samples) == count
    assert samples[0].pictures()[0].media_type == "image/jpeg"
    assert samples[0].turns[0].count("\n") >= 4


def test_recorded_answers_need_no_images() -> None:
    samples = suite("seed-bench", DATA, images=False).samples
    assert len(samples) == 14_232
    assert all(len(texts) == len(samples) for texts in answers("seed-bench", DATA).values())


def test_seed_bench_takes_seconds() -> None:
    start = time.process_time()
    recorded("SEEDBench_IMG", DATA)
    assert time.process_time() - start < 5


def test_other_rules_give_other_figures() -> None:
    """Negative controls: what the published figures depend on."""
    items = read(DATA / "recorded" / "CCBench.jsonl")
    assert of_model(rules.CHOICE, items, "vila_8b")["Overall"] > 0.34 + 0.05
    charts = read(DATA / "recorded" / "ChartQA_TEST.jsonl")
    whole = 100 * sum(relaxed([item.answer], item.said["vila_13b"] or "nan") for item in charts) / len(charts)
    assert whole < 58.72 - 0.1
    seed = read(DATA / "recorded" / "SEEDBench_IMG.jsonl")
    ends = sum((infer(item.said["vila_8b"] or "", item.options, 4) == item.answer) for item in seed)
    assert ends != round(0.6788926363125352 * len(seed))
    mme = read(DATA / "recorded" / "MME.jsonl")
    assert of_model(rules.MME_OWN, mme, "vila_8b")["perception"] != pytest.approx(1558.5247098839536)


@pytest.mark.parametrize("name", ["qwen_vl_total_val_output.json", "answer_dict_val.json"])
def test_mmmus_own_files_stand_for_their_folder(name: str) -> None:
    assert recorded("MMMU", DATA / "mmmu" / name)["models"]["qwen_vl"]["Overall"] == 0.361
