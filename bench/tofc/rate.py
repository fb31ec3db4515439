"""Rate against accuracy on the nano visual suites: features, JPEG and WebP, without and with the same merging.

Every byte is real: streams go through the coder and back, pictures through their files. Without merging, pictures are
read by the family's own full model; with it, by the model that the codec was trained with, from merged features that
were not quantised. Form: AI Flow, Fig. 4.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch

from aiflow.bench.familial.estimates import Table, tabulate
from aiflow.bench.tofc.curves import Comparison, Point, compare, frontier
from aiflow.bench.tofc.images import QUALITIES, send
from aiflow.collaboration.tofc.model import Compressor
from aiflow.nano.family.evaluate import Marks
from aiflow.nano.family.exam import Exam, Seen, features, through
from aiflow.nano.visual.questions import FORMS

PAIRED = ("mme",)
"""Forms whose neighbouring items share a picture."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One way of sending pictures: ``kind`` (tofc, jpeg, webp, features), tokens (0: no merging), level or quality."""

    kind: str
    tokens: int
    quality: int

    @property
    def name(self) -> str:
        """``jpeg 50``, ``jpeg 50 + 16 tokens``, ``tofc 16/2``."""
        if self.kind == "tofc":
            return f"tofc {self.tokens}/{self.quality}"
        alone = self.kind if self.kind == "features" else f"{self.kind} {self.quality}"
        return f"{alone} + {self.tokens} tokens" if self.tokens else alone


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a system cost and gave: bytes of each item's image, and marks."""

    system: System
    sizes: tuple[int, ...]
    marks: Marks

    @property
    def mean_bytes(self) -> float:
        """Of an image."""
        return sum(self.sizes) / len(self.sizes)


def measure(exam: Exam, plain: Compressor, tuned: Compressor, *, only_streams: bool = False) -> Iterator[Measured]:
    """All systems on all items; ``plain`` is the family's own model (its codec is not used)."""
    N, tokens = len(features(plain, exam.images[:1])[0]), tuned.codec.config.tokens
    yield _features(exam, plain, 0, N)
    for kind, qualities in {} if only_streams else QUALITIES.items():
        for quality in qualities:
            sent = [send(image, kind, quality) for image in exam.images]
            yield _pictures(exam, plain, System(kind=kind, tokens=0, quality=quality), sent, N)
            seen = features(tuned, [s.image for s in sent])
            for count in tokens:
                yield _merged(exam, tuned, System(kind=kind, tokens=count, quality=quality), sent, seen)
    x = features(tuned, exam.images)
    for count in tokens:
        yield _features(exam, tuned, count, count)
        for level in range(tuned.codec.config.levels):
            yield _streams(exam, tuned, System(kind="tofc", tokens=count, quality=level), x)


def _features(exam: Exam, model: Compressor, tokens: int, count: int) -> Measured:
    """Uncompressed features in float32, merged to ``tokens`` (0: not)."""
    x = features(model, exam.images)
    return _done(exam, model, System(kind="features", tokens=tokens, quality=0), [_merge(model, f, count) for f in x])


def _pictures(exam: Exam, model: Compressor, system: System, sent: Sequence[Any], count: int) -> Measured:
    seen = features(model, [s.image for s in sent])
    return _done(exam, model, system, [_merge(model, f, count, s.nbytes) for f, s in zip(seen, sent, strict=True)])


def _merged(exam: Exam, model: Compressor, system: System, sent: Sequence[Any], seen: Sequence[Any]) -> Measured:
    rows = [_merge(model, f, system.tokens, s.nbytes) for f, s in zip(seen, sent, strict=True)]
    return _done(exam, model, system, rows)


def _streams(exam: Exam, model: Compressor, system: System, x: Sequence[torch.Tensor]) -> Measured:
    from aiflow.collaboration.tofc.stream import Coder

    coder = Coder(model.codec)
    return _done(exam, model, system, [through(coder, x_NC, system.tokens, system.quality) for x_NC in x])


def _merge(model: Compressor, x_NC: torch.Tensor, count: int, nbytes: int | None = None) -> Seen:
    with torch.inference_mode():
        x_BMC, clusters = model.codec.merge(x_NC[None], count)
    size = 4 * x_BMC.numel() if nbytes is None else nbytes
    return Seen(x_MC=x_BMC[0], places_M=clusters.centres_BM[0], nbytes=size)


def _done(exam: Exam, model: Compressor, system: System, seen: Sequence[Seen]) -> Measured:
    return Measured(system=system, sizes=tuple(s.nbytes for s in seen), marks=exam.marks(model, seen))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything `measure` found. K systems in its order; the first is the plain model on its own ``features``."""

    found: tuple[Measured, ...]
    table: Table
    features: int

    def points(self, kind: str, tokens: int | None = None, *, merged: bool = True) -> list[Point]:
        """Of a kind, with one number of tokens (None: any), merged or not."""
        return [
            Point(name=f.system.name, nbytes=f.mean_bytes, score=self.table.average(k, FORMS))
            for k, f in enumerate(self.found)
            if f.system.kind == kind and (f.system.tokens > 0) == merged and tokens in (None, f.system.tokens)
        ]

    def merging(self) -> list[int]:
        """The numbers of tokens that are fewer than there are features."""
        counts = sorted({f.system.tokens for f in self.found if f.system.kind == "tofc"})
        return [count for count in counts if count < self.features]

    def streams(self) -> list[int]:
        """Places of the TOFC settings."""
        return [k for k, f in enumerate(self.found) if f.system.kind == "tofc"]


def study(folder: Path, items: int, *, only_streams: bool = False) -> Study:
    """Measures the family in ``folder`` with its codec, and the image codecs; or the codec alone."""
    from transformers import AutoTokenizer

    plain, tuned = models(folder)
    exam, found = Exam(AutoTokenizer.from_pretrained(folder), items), []
    for one in measure(exam, plain, tuned, only_streams=only_streams):
        score = sum(sum(m) / len(m) for m in one.marks.values()) / len(one.marks)
        print(f"{one.system.name}: {one.mean_bytes:.0f} B, {100 * score:.1f} %", file=sys.stderr, flush=True)
        found.append(one)
    whole = len(features(plain, exam.images[:1])[0])
    return Study(found=tuple(found), table=tabulate([f.marks for f in found], pairs=PAIRED), features=whole)


def models(folder: Path) -> tuple[Compressor, Compressor]:
    """The family's own full model (with an idle codec), and the one that its codec was trained with."""
    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.tofc.files import FOLDER

    tuned = Compressor.from_pretrained(folder / FOLDER, Family.from_pretrained(folder, dtype="float32").backbone)
    plain = Compressor(Family.from_pretrained(folder, dtype="float32").backbone, tuned.codec.config)
    return plain.eval(), tuned


def report(found: Study) -> dict[str, Any]:
    """The headline numbers and what they were computed from.

    With merging, systems with as many tokens are compared; the headline is the geometric mean over their numbers.
    """
    ours = frontier(found.points("tofc"))
    result: dict[str, Any] = {"systems": [_row(found, k) for k in range(len(found.found))], "merged": []}
    for kind in QUALITIES:
        alone = compare(ours, frontier(found.points(kind, merged=False)))
        result[f"saving_vs_{kind}"] = 1 - alone.ratio if alone else None
        result[f"{kind}_alone"] = _plain(alone)
        each = {
            tokens: compare(frontier(found.points("tofc", tokens)), frontier(found.points(kind, tokens)))
            for tokens in found.merging()
        }
        result["merged"] += [{"kind": kind, "tokens": tokens, **(_plain(c) or {})} for tokens, c in each.items()]
        ratios = [1 / c.ratio for c in each.values() if c]
        result[f"merged_ratio_vs_{kind}"] = geometric_mean(ratios) if ratios else None
    best = max(found.streams(), key=lambda k: found.table.average(k, FORMS))
    gap = found.table.difference(0, best, FORMS)
    result["accuracy_gap"] = 100 * gap.value
    result["accuracy_gap_ci"] = [100 * gap.lo, 100 * gap.hi]
    result["best"] = found.found[best].system.name
    return result


def _row(found: Study, k: int) -> dict[str, Any]:
    one, score = found.found[k], found.table.mean(k, FORMS)
    forms = {form: sum(marks) / len(marks) for form, marks in one.marks.items()}
    sizes = sorted(one.sizes)
    row = {"name": one.system.name, **asdict(one.system), "bytes": one.mean_bytes, "score": score.value}
    return row | {"ci": [score.lo, score.hi], "bytes_p95": sizes[int(0.95 * len(sizes))], "forms": forms}


def _plain(found: Comparison | None) -> dict[str, float] | None:
    return asdict(found) if found else None
