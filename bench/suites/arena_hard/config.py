"""How Arena-Hard's judge is asked: ``judge_config.yaml`` and, for v2, the system prompts. No text is kept here."""

import ast
from pathlib import Path

import yaml
from pydantic import BaseModel

from aiflow.bench.suite import Sample
from aiflow.bench.suites import files
from aiflow.bench.suites.arena_hard.data import BASELINE, CONFIG, SETTINGS, URLS
from aiflow.errors import DataError
from aiflow.types import Message


class Config(BaseModel):
    """``judge_config.yaml``; ``system_prompt`` may be one text or one for each category."""

    baseline_model: str = BASELINE
    temperature: float = 0.0
    max_tokens: int = 4096
    system_prompt: str | dict[str, str] = ""
    prompt_template: str | list[str]

    def ask(self, sample: Sample, a: str, b: str) -> list[Message]:
        """Asks which answer to the sample's question is better. The places have v0.1's and v2's names."""
        texts = {"question_1": sample.turns[0], "answer_1": a, "answer_2": b}
        more = {"QUESTION": sample.turns[0], "ANSWER_A": a, "ANSWER_B": b}
        system = self.system_prompt
        if isinstance(system, dict):
            system = system[sample.category]
        template = self.prompt_template if isinstance(self.prompt_template, str) else "\n\n".join(self.prompt_template)
        return [Message("system", system), Message("user", template.format(**texts, **more))]


def read(folder: Path) -> Config:
    """The configuration of a folder. Raises DataError."""
    path = folder / CONFIG
    told = f"get it from {URLS['v0.1'][CONFIG]}"
    try:
        found = files.checked(Config.model_validate, yaml.safe_load(files.read(path, told)), str(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML ({' '.join(str(error).split())}); {told}.") from error
    return found


def baseline(folder: Path) -> str:
    """The model that the configuration names, v0.1's without one. Raises DataError."""
    return read(folder).baseline_model if files.find(folder / CONFIG) else BASELINE


def complete(folder: Path, samples: tuple[Sample, ...]) -> Config:
    """The configuration with all that a judge needs for ``samples``. Raises DataError that names what is missing.

    System prompts that it lacks are read from v2's official ``judge_utils.py`` beside it; that file is not run.
    """
    found = read(folder)
    path = folder / CONFIG
    if not found.system_prompt:
        found = found.model_copy(update={"system_prompt": _settings(folder / SETTINGS)})
    if isinstance(found.system_prompt, dict):
        lacking = {sample.category for sample in samples} - set(found.system_prompt)
        if lacking:
            raise DataError(f"{path} has no system_prompt for the categories {sorted(lacking)}; add them.")
    try:
        text = found.ask(Sample(id="", category=next(iter(samples)).category, turns=("<q>",)), "<a>", "<b>")[1].text
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{path}: prompt_template cannot be filled ({error!r}); get it anew.") from error
    if lost := [place for place in ("<q>", "<a>", "<b>") if place not in text]:
        raise DataError(f"{path}: prompt_template has no place for {', '.join(lost)}; get it anew.")
    return found


def _settings(path: Path) -> dict[str, str]:
    """Category -> system prompt, from the dict ``JUDGE_SETTINGS`` of literals and names of literals."""
    told = f"add system_prompt to {path.with_name(CONFIG)}, or get {path.name} from {URLS['v2'][SETTINGS]}"
    try:
        body = ast.parse(files.read(path, told)).body
    except SyntaxError as error:
        raise DataError(f"{path} is no Python ({error}); {told}.") from error
    pairs = [(line.targets[0], line.value) for line in body if isinstance(line, ast.Assign)]
    known = {target.id: value for target, value in pairs if isinstance(target, ast.Name)}
    found = {}
    for category, settings in _entries(known.get("JUDGE_SETTINGS")).items():
        prompt = _entries(settings).get("system_prompt")
        prompt = known.get(prompt.id) if isinstance(prompt, ast.Name) else prompt
        if isinstance(prompt, ast.Constant) and isinstance(prompt.value, str):
            found[category] = prompt.value
    return found


def _entries(node: ast.expr | None) -> dict[str, ast.expr]:
    pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
    return {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}
