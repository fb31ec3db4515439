"""Where the questions and recorded answers of a benchmark lie in a folder, and how they are read from there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aiflow.bench.suites import files
from aiflow.bench.suites.vqa import official, rules
from aiflow.bench.suites.vqa.data import Item, read
from aiflow.bench.suites.vqa.rows import KINDS, kind, stem
from aiflow.bench.suites.vqa.rules import Rule
from aiflow.bench.suites.vqa.table import Benchmark, plain
from aiflow.errors import DataError

SUITE = "vqa"
_FOLDERS = ("recorded", ".", "vqa/recorded", "vqa")
_MMMU = (".", "mmmu", "vqa/mmmu")
SAMPLE, SAMPLED = "items.json", ("MMBench", "CCBench")
"""Questions of MMBench and CCBench with their images, in the folder of the same name."""


def chosen(known: Sequence[Benchmark], data: Path | None) -> tuple[Benchmark, Path]:
    """The first of a family's splits that a file or folder holds, and that folder; the first split if none is.

    ``data`` None: the default folders. Raises DataError if there is no such folder.
    """
    first = known[0]
    if data is None:
        marker = f"mmmu/{official.KEY}" if first.family == "MMMU" else f"recorded/{first.name}.jsonl"
        data = files.locate(SUITE, None, marker)
    if not data.exists():
        raise DataError(f"{data} is missing; give a file, or the folder that holds {first.name}.")
    if data.is_file():
        named = [each for each in known if plain(each.name) in plain(stem(data))]
        return max(named, key=lambda each: len(each.name), default=first), data
    return next((each for each in known if tables(each, data)), first), data


def answered(benchmark: Benchmark, data: Path) -> Iterator[tuple[Rule, list[Item]]]:
    """(rule, questions with answers) of everything recorded for a benchmark, one file after another.

    Raises DataError that says what was looked for, and what a file lacks.
    """
    found = [*_outputs(benchmark, data)]
    for path in [] if found and data.is_file() else tables(benchmark, data):
        rule, items = questions(benchmark, path)
        if any(item.said for item in items):
            found.append((rule, items))
    if not found:
        raise DataError(
            f"{data} holds no recorded answers to {benchmark.name}; give a file of them, e.g. "
            f"{benchmark.name}.jsonl (prediction: model -> text) or VLMEvalKit's <model>_{benchmark.name}.xlsx."
        )
    yield from found


def live(known: Sequence[Benchmark], data: Path | None, images: bool) -> tuple[Benchmark, Rule, list[Item]]:
    """(benchmark, rule, questions), of the first file that holds an image if ``images`` are wanted.

    ``data`` None: the official TSV, fetched unless it lies in a default folder. Raises DataError without questions, and
    without a single image.
    """
    if data is None and images:
        name = f"{known[0].name}.tsv"
        data = files.locate(SUITE, None, name, {name: known[0].url}) / name
    benchmark, data = chosen(known, data)
    places = [*tables(benchmark, data), *(_samples(data) if benchmark.family in SAMPLED else ())]
    for path in places:
        rule, items = questions(benchmark, path, images)
        if path.name == SAMPLE:
            items = [item for item in items if item.image.startswith(f"{benchmark.family}/")]
        if items and (not images or any(item.images for item in items)):
            return benchmark, rule, items
    what = "no image of its questions is here" if places else "it is not here"
    raise DataError(f"{benchmark.name}: {what} ({data}); get {benchmark.url}, or ask recorded models without images.")


def questions(benchmark: Benchmark, path: Path, images: bool = False) -> tuple[Rule, list[Item]]:
    """The questions in a file, and the rule for its form: MMMU's own form is scored by MMMU's own rule."""
    model = stem(path)
    for name in (benchmark.name, benchmark.family):
        if plain(model).endswith(plain(name)) and plain(model) != plain(name):
            model = model[: -len(name)].rstrip("_-") or model
            break
    if benchmark.family != "MMMU":
        return benchmark.rule, read(path, model, benchmark.rule.needs, images)
    items = read(path, model, ("question", "answer"), images)
    own = any("question_type" in item.data for item in items)
    return (rules.MMMU_OWN if own else benchmark.rule), items


def tables(benchmark: Benchmark, data: Path) -> list[Path]:
    """The files of a folder that are called after the benchmark, or are a model's answers to it; a file itself."""
    if data.is_file():
        return [] if benchmark.family == "MMMU" and official.is_mmmu(data) else [data]
    wanted = plain(benchmark.name)
    for folder in _FOLDERS:
        files_here = _tables_in(data / folder)
        exact = [path for path in files_here if plain(stem(path)) == wanted]
        exports = [path for path in files_here if stem(path).lower().endswith(f"_{benchmark.name.lower()}")]
        if exact or exports:
            return [*exact[:1], *exports]
    if benchmark.family == "MMMU":
        own = (_tables_in(data / folder) for folder in _MMMU if files.find(data / folder / official.KEY))
        return [path for path in next(own, []) if kind(path) == ".jsonl"]
    return []


def _samples(data: Path) -> list[Path]:
    places = (data / folder / SAMPLE for folder in (".", "mmbench_ccbench", "vqa/mmbench_ccbench"))
    return [path for path in places if path.is_file()]


def _tables_in(folder: Path) -> list[Path]:
    """By kind, then by name."""
    found = [path for path in folder.iterdir() if kind(path)] if folder.is_dir() else []
    return sorted(found, key=lambda path: (KINDS.index(kind(path)), path.name))


def _outputs(benchmark: Benchmark, data: Path) -> Iterator[tuple[Rule, list[Item]]]:
    """What a benchmark's own tool has written."""
    if benchmark.family == "MME" and official.is_mme(data):
        yield rules.MME_OWN, official.mme(data)
    if benchmark.family == "MMMU" and official.is_mmmu(data):
        outputs = official.OUTPUTS if data.name == official.KEY else data.name
        yield from ((rules.MMMU_PARSED, items) for items in official.mmmu(data.parent, outputs).values())
    if benchmark.family == "MMMU" and data.is_dir():
        for folder in _MMMU:
            if files.find(data / folder / official.KEY):
                yield from ((rules.MMMU_PARSED, items) for items in official.mmmu(data / folder).values())
                return
