"""The forms in which questions and answers come, and what is said of files that are not right."""

import base64
import csv
import gzip
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.suites.vqa import answers, recorded, suite
from aiflow.bench.suites.vqa.data import read
from aiflow.bench.suites.vqa.table import BENCHMARKS, candidates
from aiflow.errors import DataError, UsageError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(80)
ROWS: list[dict[str, Any]] = [
    {"index": "0", "question": "Who?", "A": "a cat", "B": None, "C": "a dog", "answer": "A", "category": "x"},
    {"index": "1", "question": "What?", "A": "red", "B": "blue", "C": None, "answer": "B", "category": "y"},
]
SAID = [{"small": "A", "large": "C. a dog"}, {"small": None, "large": "blue"}]


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]] = ROWS, said: Sequence[Any] = SAID) -> Path:
    lines = [json.dumps({**row, "prediction": text}) for row, text in zip(rows, said, strict=True)]
    text = ("\n".join(lines) + "\n\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def xlsx(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Texts shared, inline and as numbers; an empty cell is left out."""
    shared: list[str] = []

    def cell(place: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, int):
            return f'<c r="{place}"><v>{value}</v></c>'
        if len(value) > 4:
            return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
        shared.append(value)
        return f'<c r="{place}" t="s"><v>{len(shared) - 1}</v></c>'

    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    body = "".join(
        f"<row>{''.join(cell(f'{chr(65 + n)}{number}', value) for n, value in enumerate(line))}</row>"
        for number, line in enumerate(lines, 1)
    )
    spaces = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {spaces}><sheetData>{body}</sheetData></worksheet>")
        texts = "".join(f"<si><r><t>{text[:1]}</t></r><r><t>{text[1:]}</t></r></si>" for text in shared)
        book.writestr("xl/sharedStrings.xml", f"<sst {spaces}>{texts}</sst>")
    return path


@pytest.mark.parametrize("name", ["MMStar.jsonl", "MMStar.jsonl.gz"])
def test_recorded_lines(tmp_path: Path, name: str) -> None:
    jsonl(tmp_path / name)
    for data in (tmp_path, tmp_path / name):
        models = recorded("mm-star", data)["models"]
        assert models["small"]["Overall"] == 0.5
        assert (models["small"]["empty"], models["small"]["unmatched"]) == (1, 1)
        assert (models["large"]["x"], models["large"]["y"]) == (0.0, 1.0)
    assert answers("MMStar", tmp_path) == {
        "small": {"0": ("A",), "1": ("",)},
        "large": {"0": ("C. a dog",), "1": ("blue",)},
    }


def test_exports_are_named_by_their_files(tmp_path: Path) -> None:
    rows = [{**row, "prediction": said["large"], "log": "Match"} for row, said in zip(ROWS, SAID, strict=True)]
    table(tmp_path / "big_model_AI2D_TEST.tsv", rows)
    xlsx(tmp_path / "other_AI2D_TEST.xlsx", rows)
    table(tmp_path / "AI2D_TEST.tsv", ROWS)  # the questions alone
    found = recorded("AI2D", tmp_path)
    assert found["suite"] == "AI2D_TEST"
    assert [(name, one["score"]) for name, one in found["models"].items()] == [("big_model", 0.5), ("other", 0.5)]
    table(tmp_path / "answers.csv", rows)
    assert recorded("AI2D", tmp_path / "answers.csv")["models"]["answers"]["score"] == 0.5


def test_what_pandas_takes_for_missing_is_missing(tmp_path: Path) -> None:
    rows = [{"index": 0, "question": "Which?", "A": "None", "B": "two", "hint": "nan", "answer": "B"}]
    (item,) = read(table(tmp_path / "t.tsv", rows))
    assert (dict(item.options), item.hint, item.said) == ({"B": "two"}, "", {})
    (item,) = read(jsonl(tmp_path / "t.jsonl", rows, [{"m": "A"}]))
    assert item.options["A"] == "None"


def test_columns_in_another_case_and_options_in_a_list(tmp_path: Path) -> None:
    rows = [{"Index": 5, "Question": "?", "options": ["x", "y"], "Answer": "B", "Category": "c"}]
    (item,) = read(jsonl(tmp_path / "t.jsonl", rows, ["B"]))
    assert (item.id, dict(item.options), item.category, item.said) == ("5", {"A": "x", "B": "y"}, "c", {"t": "B"})


def test_the_split_that_is_there_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    jsonl(tmp_path / "ScienceQA_TEST.jsonl")
    assert recorded("ScienceQA", tmp_path)["suite"] == "ScienceQA_TEST"
    with pytest.raises(DataError, match=r"holds no recorded answers to ScienceQA_VAL"):
        recorded("ScienceQA_VAL", tmp_path)


def broken(folder: Path, text: str) -> Path:
    path = folder / "MMStar.jsonl"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("{", r"MMStar\.jsonl:1 is no JSON"),
        ("[1]", r"MMStar\.jsonl:1 is no object"),
        (
            '{"question": "?", "index": 1, "A": "x"}',
            r"lacks the column 'answer'; it has 'A', 'index', 'question'; a test",
        ),
        ('{"question": "?", "index": 1, "answer": "A"}', "lacks the column 'options'"),
        ('{"index": 1, "answer": "A", "A": "x"}', "lacks the column 'question'"),
        ('{"question": "?", "answer": "A", "A": "x", "index": null}', r"MMStar\.jsonl:1 has no index"),
        (
            '{"question": "?", "answer": "A", "A": "x", "index": 1, "prediction": {"m": ["A"]}}',
            r":1 holds an answer that is",
        ),
        (
            '{"question": "?", "answer": "A", "options": 3, "index": 1, "prediction": {"m": "A"}}',
            r":1 has options that",
        ),
        ('{"question": "?", "answer": "A", "A": "x", "index": 1}', "holds no recorded answers to MMStar"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        recorded("MMStar", broken(tmp_path, text))


def test_an_id_that_comes_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MMStar\.jsonl holds the id '0' twice"):
        recorded("MMStar", jsonl(tmp_path / "MMStar.jsonl", [ROWS[0], ROWS[0]]))


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is missing"):
        recorded("MMStar", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no recorded answers to MMStar; give a file"):
        recorded("MMStar", tmp_path)
    (tmp_path / "m_MMStar.xlsx").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read as XLSX"):
        recorded("MMStar", tmp_path)
    (tmp_path / "answers.txt").write_text("A")
    with pytest.raises(DataError, match=r"is of no known kind"):
        recorded("MMStar", tmp_path / "answers.txt")
    (tmp_path / "t.tsv").write_text("index\tquestion\n1\n")
    with pytest.raises(DataError, match=r"t\.tsv:2 has 1 columns, its header 2"):
        recorded("MMStar", tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"index\tindex\n")
    with pytest.raises(DataError, match="the column 'index' twice"):
        recorded("MMStar", tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"index\n\xff\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        recorded("MMStar", tmp_path / "t.tsv")


def test_names_in_any_spelling() -> None:
    spellings = {"SEED-Bench": "SEEDBench_IMG", "seedbench": "SEEDBench_IMG", "ChartQA": "ChartQA_TEST", "mme": "MME"}
    spellings |= {"MMBench": "MMBench_DEV_EN", "mmbench test cn": "MMBench_TEST_CN", "docvqa_test": "DocVQA_TEST"}
    assert {name: candidates(name)[0].name for name in spellings} == spellings
    assert all(candidates(name.lower())[0].name == name for name in BENCHMARKS)
    with pytest.raises(UsageError, match="no VQA suite is called 'chartqqa'; did you mean 'chartqa'"):
        recorded("chartqqa")
    with pytest.raises(UsageError, match="scored by a judge model"):
        recorded("MM-Vet")


def test_images_in_base64_by_reference_and_in_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(PNG)
    image = base64.b64encode(PNG).decode()
    shown = [{**ROWS[0], "image": image}, {**ROWS[1], "image": "0"}]
    first, second = suite("MMStar", table(tmp_path / "MMStar.tsv", shown)).samples
    assert first.images == second.images == (PNG,)
    assert first.pictures()[0].media_type == "image/png"
    two = [{**ROWS[0], "image": str([image, image])}, {**ROWS[1], "image": image}]
    assert suite("MMStar", table(tmp_path / "MMStar.tsv", two)).samples[0].images == (PNG, PNG)
    beside = [{**ROWS[0], "image_path": "a.png"}, {**ROWS[1], "image_path": "gone.png"}]
    (tmp_path / "MMStar.tsv").unlink()
    jsonl(tmp_path / "MMStar.jsonl", beside)
    (only,) = suite("MMStar", tmp_path).samples
    assert only.images == (tmp_path / "images" / "a.png",)
    assert len(suite("MMStar", tmp_path, images=False).samples) == 2


def test_bad_images(tmp_path: Path) -> None:
    path = table(tmp_path / "MMStar.tsv", [{**ROWS[0], "image": "?" * 80}])
    with pytest.raises(DataError, match=r"MMStar\.tsv:2, column 'image', is no base64"):
        suite("MMStar", path)
    image = base64.b64encode(PNG).decode()
    path = table(tmp_path / "MMStar.tsv", [{**ROWS[0], "image": image}, {**ROWS[1], "image": "7"}])
    with pytest.raises(DataError, match=r"MMStar\.tsv:3 refers to the image of row '7'"):
        suite("MMStar", path)
    with pytest.raises(DataError, match=r"no image of its questions is here.*MMStar\.tsv, or ask recorded"):
        suite("MMStar", jsonl(tmp_path / "MMStar.jsonl"))


def test_the_official_file_is_named_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AIFLOW_OFFLINE", "1"), ("AIFLOW_CACHE", str(tmp_path)), ("AIFLOW_DATA", str(tmp_path))):
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=r"MMStar\.tsv from https://opencompass"):
        suite("MMStar")


def test_mmes_own_folder_and_mmmus_own_output(tmp_path: Path) -> None:
    (tmp_path / "OCR.txt").write_text("1.jpg\tIs it?\tYes\tyes, it is\n1.jpg\tIs it?\n")
    with pytest.raises(DataError, match=r"OCR\.txt:2 has 2 parts; give image, question"):
        recorded("MME", tmp_path)
    (tmp_path / "OCR.txt").write_text("1.jpg\tIs it?\tYes\tyes, it is\n")
    with pytest.raises(DataError, match=r"artwork\.txt is missing; MME's tool needs"):
        recorded("MME", tmp_path)
    key = {
        "validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"},
        "validation_Art_2": {"question_type": "short-answer", "ground_truth": ["4", "four"]},
    }
    (tmp_path / "answer_dict_val.json").write_text(json.dumps(key))
    output = tmp_path / "m_total_val_output.json"
    output.write_text(json.dumps({"validation_Art_1": "B", "validation_Art_2": "it is 5"}))
    found = recorded("MMMU", tmp_path)["models"]["m"]
    assert (found["Overall"], found["Art"], found["Overall-Art and Design"], found["n"]) == (0.5, 0.5, 0.5, 2)
    output.write_text(json.dumps({"validation_Art_9": "B"}))
    with pytest.raises(DataError, match=r"answers 'validation_Art_9', which"):
        recorded("MMMU", tmp_path)
    (tmp_path / "answer_dict_val.json").write_text('{"validation_Art_1": 3}')
    with pytest.raises(DataError, match=r"answer_dict_val\.json is malformed at validation_Art_1"):
        recorded("MMMU", tmp_path)
