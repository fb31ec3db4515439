"""The benchmarks by name: which rule scores each, under which names it is known, where its official file lies."""

import re
from dataclasses import dataclass

from aiflow.bench.suites.vqa import rules
from aiflow.bench.suites.vqa.rules import Rule
from aiflow.errors import UsageError, suggest

_OFFICIAL = "https://opencompass.openxlab.space/utils/VLMEval/{}.tsv"
_HUB = "https://huggingface.co/datasets/VLMEval/{0}/resolve/main/{0}.tsv"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark and one split of it: VLMEvalKit's ``name``, and the rule of its scores.

    ``family`` is the name without the split, under which the first of a family is meant; ``url``: its official TSV.
    """

    name: str
    family: str
    rule: Rule
    aliases: tuple[str, ...] = ()
    url: str = ""


def _family(
    family: str, rule: Rule, *names: str, aliases: tuple[str, ...] = (), url: str = _OFFICIAL
) -> list[Benchmark]:
    """The splits of one benchmark; the aliases are the first's."""
    return [
        Benchmark(name=name, family=family, rule=rule, aliases=() if number else aliases, url=url.format(name))
        for number, name in enumerate(names or (family,))
    ]


_MMBENCH = tuple(
    f"MMBench_{split}_{language}{version}"
    for version in ("", "_V11")
    for split in ("DEV", "TEST")
    for language in ("EN", "CN")
)
_ALL = [
    *_family("MME", rules.MME),
    *_family("SEEDBench", rules.CHOICE, "SEEDBench_IMG", aliases=("SEED", "SEED_Image")),
    *_family("SEEDBench2_Plus", rules.CHOICE),
    *_family("SEEDBench2", rules.CHOICE, url=_HUB),
    *_family("MMBench", rules.CIRCULAR, *_MMBENCH, aliases=("MMBench_EN", "MMB")),
    *_family("MMBench_CN", rules.CIRCULAR),
    *_family("MMBench_V11", rules.CIRCULAR),
    *_family("MMBench_CN_V11", rules.CIRCULAR),
    *_family("CCBench", rules.CIRCULAR),
    *_family("MMStar", rules.CHOICE),
    *_family("OCRBench", rules.OCRBENCH),
    *_family("AI2D", rules.CHOICE, "AI2D_TEST", "AI2D_TEST_NO_MASK"),
    *_family("MMMU", rules.MMMU_CHOICE, "MMMU_DEV_VAL", "MMMU_TEST", aliases=("MMMU_VAL",)),
    *_family("RealWorldQA", rules.CHOICE, aliases=("RWQA",)),
    *_family("ScienceQA", rules.CHOICE, "ScienceQA_VAL", "ScienceQA_TEST", aliases=("SQA",)),
    *_family("BLINK", rules.CHOICE),
    *_family("ChartQA", rules.RELAXED, "ChartQA_TEST"),
    *_family("DocVQA", rules.ANLS, "DocVQA_VAL", "DocVQA_TEST"),
    *_family("InfoVQA", rules.ANLS, "InfoVQA_VAL", "InfoVQA_TEST", aliases=("InfographicVQA",)),
    *_family("TextVQA", rules.VQA, "TextVQA_VAL"),
    *_family("OCRVQA", rules.EXACT, "OCRVQA_TESTCORE", "OCRVQA_TEST"),
    *_family("POPE", rules.POPE),
    *_family("HallusionBench", rules.HALLUSION, aliases=("Hallusion",)),
]
BENCHMARKS = {benchmark.name: benchmark for benchmark in _ALL}
JUDGED = ("MathVista", "MathVista_MINI", "MathVision", "MathVision_MINI", "MMVet", "LLaVABench", "MathVerse")


def candidates(name: str) -> list[Benchmark]:
    """The benchmark of that name, in any spelling of it (``SEED-Bench``, ``seedbench``); without its split: all splits.

    Raises UsageError for another name, and for a benchmark that a model has to judge.
    """
    wanted = plain(name)
    for known in _ALL:
        if wanted == plain(known.name):
            return [known]
    for known in _ALL:
        if wanted in map(plain, (known.family, *known.aliases)):
            return [each for each in _ALL if each.family == known.family]
    if wanted in map(plain, JUDGED):
        raise UsageError(f"{name} is scored by a judge model, not by a rule; give one of {', '.join(names())}.")
    raise UsageError(f"no VQA suite is called {name!r}; {suggest(wanted, list(map(plain, names())))}")


def names() -> list[str]:
    """All of them, without their splits."""
    return list(dict.fromkeys(known.family for known in _ALL))


def plain(name: str) -> str:
    """Without case, spaces and marks: how names are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
