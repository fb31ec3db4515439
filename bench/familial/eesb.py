"""EESB: the accuracy of every member against its parameters, beside early exits without branches, over several seeds.

The members of the two headline numbers are chosen by size alone (the largest with a branch that fits a share fixed
beforehand), never by score. Source of the form: AI Flow, section III-B2, Fig. 9.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiflow.bench.familial import read_tokenizer
from aiflow.bench.familial.estimates import Table, over_seeds, tabulate
from aiflow.bench.stats import Estimate
from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import InputError
from aiflow.nano.family.stages import PART
from aiflow.nano.visual.questions import FORMS, GENERAL, INFORMATION, Form, chance

GROUPS: dict[str, tuple[Form, ...]] = {"general": GENERAL, "information": INFORMATION, "all": FORMS}
BARS = {"general": (0.45, 0.982), "all": (0.62, 0.95)}
"""By group of forms: the largest share of the parameters, and the relative accuracy to reach with it."""
SAVING = 1.4
"""How many times the parameters an early exit without a branch needs at least for the same."""
KEEPS = (PART,)
"""Parts of a branch that are measured beside the whole one."""
HEADLINE = ("member", "parameters", "parameter_share", "relative_accuracy", "ci", "by_seed", "seeds_ci", "met")
PAIRED = ("mme",)
"""Forms whose neighbouring items share a picture."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A member to measure; ``kind``: branch (whole), part (of a branch), bare (an exit without branch) or full."""

    member: Member
    kind: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Study:
    """All members, smallest first, of K = seeds x sizes models; the full model is the last size."""

    sizes: tuple[Size, ...]
    table: Table
    seeds: int

    def place(self, seed: int, size: int) -> int:
        """Where a member of a seed is in the table."""
        return seed * len(self.sizes) + size

    def score(self, size: int, forms: Sequence[str]) -> float:
        """Mean score over forms and seeds."""
        found = [self.table.average(self.place(seed, size), forms) for seed in range(self.seeds)]
        return sum(found) / len(found)

    def relative(self, size: int, forms: Sequence[str], seeds: Sequence[int], base: float = 0.0) -> Estimate | None:
        """Accuracy relative to the full model of the same seed, on average over ``seeds``; interval over items."""
        pairs = [(self.place(seed, size), self.place(seed, len(self.sizes) - 1)) for seed in seeds]
        return self.table.relative(pairs, forms, base)

    def share(self, size: int) -> float:
        """Parameters as a share of the full model's."""
        return self.sizes[size].parameters / self.sizes[-1].parameters


def run(folders: Sequence[Path], items: int) -> dict[str, Any]:
    """Measures all members of every family; families in ``folders`` differ in their seeds only.

    Returns ``eesb`` and ``early_exit``. Raises InputError for families of different sizes, WeightsError, and
    UnknownModelError.
    """
    from aiflow.bench.familial.exam import Exam

    marks, known = [], None
    exam: Exam | None = None
    for number, path in enumerate(folders, 1):
        family = Family.from_pretrained(path, dtype="float32")
        sizes = tuple(members(family))
        if known not in (None, sizes):
            raise InputError(f"the family in {path} has other members than that in {folders[0]}; compare seeds of one.")
        known = sizes
        exam = exam or Exam(read_tokenizer(path), items)
        for size, found in zip(sizes, exam.marks(family, [s.member for s in sizes]), strict=True):
            marks.append(found.marks)
            _say(f"seed {number} of {len(folders)}", size, sizes[-1].parameters, found)
    assert known is not None, "there is at least one folder"
    return report(Study(sizes=known, table=tabulate(marks, PAIRED), seeds=len(folders)), items)


def members(family: Family) -> list[Size]:
    """What is measured of a family: all exits with and without branch, parts of branches, and the full model."""
    found = [
        Size(member=m, kind="full" if m.exit == family.depth else "branch", parameters=n) for m, n in family.members()
    ]
    for exit_ in range(1, family.depth):
        bare = Member(exit=exit_, keep=0)
        found.append(Size(member=bare, kind="bare", parameters=family.count(bare)))
    branches: dict[int, Any] = {int(name): branch for name, branch in family.branches.items()}
    for exit_, branch in branches.items():
        for keep in KEEPS if branch.low_rank else ():
            part = Member(exit=exit_, keep=keep)
            if keep < branch.keep and branch.ranks(keep) != branch.ranks():
                found.append(Size(member=part, kind="part", parameters=family.count(part)))
    return sorted(found, key=lambda size: (size.kind == "full", size.parameters))


def report(study: Study, items: int) -> dict[str, Any]:
    """All members, the two that the rule chooses, and what a bare early exit needs for the same, as JSON."""
    chosen = {group: choose(study, share) for group, (share, _) in BARS.items()}
    heads = {g: None if size is None else _headline(study, size, g) for g, size in chosen.items()}
    exits = {g: None if size is None else early_exit(study, size, GROUPS[g]) for g, size in chosen.items()}
    eesb = {
        **(heads["general"] or dict.fromkeys(HEADLINE)),
        "all_forms": heads["all"],
        "items": items,
        "seeds": study.seeds,
        "chance": {form: chance(form) for form in FORMS},
        "members": [_row(study, size) for size in range(len(study.sizes))],
    }
    return {"eesb": eesb, "early_exit": {**(exits["general"] or {}), "all_forms": exits["all"]}}


def choose(study: Study, share: float) -> int | None:
    """The largest member with a branch whose share of the parameters is at most ``share``; scores do not matter."""
    fit = [k for k, s in enumerate(study.sizes) if s.kind in ("branch", "part") and study.share(k) <= share]
    return fit[-1] if fit else None


def early_exit(study: Study, size: int, forms: Sequence[str]) -> dict[str, Any]:
    """What an exit without a branch needs for the score of a member: the smallest measured one that reaches it.

    ``between``: the ratio if sizes between two measured exits could be had, on the straight line to the one before.
    """
    wanted, own = study.score(size, forms), study.sizes[size].parameters
    line = [(s.parameters, study.score(k, forms), s) for k, s in enumerate(study.sizes) if s.kind in ("bare", "full")]
    at = next((k for k, (_, score, _) in enumerate(line) if score >= wanted), len(line) - 1)
    parameters, score, found = line[at]
    between = float(parameters)
    if at and line[at - 1][1] < wanted <= score:
        before, low, _ = line[at - 1]
        between = before + (parameters - before) * (wanted - low) / (score - low)
    return {
        "member": str(found.member),
        "for": str(study.sizes[size].member),
        "parameters": parameters,
        "parameter_share": parameters / study.sizes[-1].parameters,
        "score": score,
        "wanted": wanted,
        "ratio": parameters / own,
        "between": between / own,
        "below_full": found.kind == "bare",
        "met": parameters / own >= SAVING,
    }


def _headline(study: Study, size: int, group: str) -> dict[str, Any]:
    of = _row(study, size)
    relative = of["relative"][group] or dict.fromkeys(("value", "ci", "by_seed", "seeds_ci"))
    reached = relative["value"]
    met = reached is not None and reached >= BARS[group][1]
    values = (of["member"], of["parameters"], of["parameter_share"], reached)
    return dict(zip(HEADLINE, (*values, relative["ci"], relative["by_seed"], relative["seeds_ci"], met), strict=True))


def _row(study: Study, size: int) -> dict[str, Any]:
    of = study.sizes[size]
    return {
        "member": str(of.member),
        "exit": of.member.exit,
        "keep": of.member.keep,
        "kind": of.kind,
        "parameters": of.parameters,
        "parameter_share": study.share(size),
        "forms": {form: study.score(size, [form]) for form in FORMS},
        "scores": {group: _scores(study, size, forms) for group, forms in GROUPS.items()},
        "relative": {group: _relative(study, size, forms) for group, forms in GROUPS.items()},
        "chance_corrected": {g: _relative(study, size, f, _chance(f)) for g, f in GROUPS.items()},
    }


def _chance(forms: Sequence[Form]) -> float:
    return sum(chance(form) for form in forms) / len(forms)


def _scores(study: Study, size: int, forms: Sequence[str]) -> dict[str, Any]:
    places = [study.place(seed, size) for seed in range(study.seeds)]
    return {"value": study.score(size, forms), "by_seed": [study.table.average(k, forms) for k in places]}


def _relative(study: Study, size: int, forms: Sequence[str], base: float = 0.0) -> dict[str, Any] | None:
    whole = study.relative(size, forms, range(study.seeds), base)
    if whole is None:
        return None
    single = [study.relative(size, forms, [seed], base) for seed in range(study.seeds)]
    seeds = over_seeds([e.value for e in single if e is not None])
    return {
        "value": whole.value,
        "ci": whole.ci,
        "by_seed": [{"value": e.value, "ci": e.ci} for e in single if e is not None],
        "seeds_ci": seeds and seeds.ci,
    }


def _say(title: str, size: Size, full: int, found: Any) -> None:
    told = " ".join(f"{group} {found.average(forms):.3f}" for group, forms in GROUPS.items())
    share = 100 * size.parameters / full
    print(f"eesb {title}: {size.kind} {size.member} ({share:.0f} %) · {told} · {found.seconds:.0f} s", file=sys.stderr)


def show(result: dict[str, Any]) -> None:
    """Prints the members, the chosen ones, and the early exit."""
    from aiflow.bench.familial.tables import show_eesb

    show_eesb(result)
