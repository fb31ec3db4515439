"""Members of one family serve at the same time in one process: are answers and logits the same as alone, bit by bit?

Members are views of one family object with caches of their own; each runs in a thread. Whatever a member kept outside
its own call (an exit that is global to the process, one cache for all) would show as a difference here.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import AiflowError, InputError
from aiflow.units import show_bytes

EXITS = 5
Prompt = Mapping[str, Tensor]
"""What ``generate`` reads: input_ids (1, T), and pixel_values where the ids have image tokens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """An answer: its token ids, and the logits (tokens, V) it was chosen by."""

    ids: tuple[int, ...]
    logits_TV: Tensor


def run(
    family: Path | str | Family | None = None,
    *,
    members: Sequence[Member] = (),
    prompts: Sequence[Prompt] | None = None,
    requests: int = 24,
    tokens: int = 16,
    deadline: float = 1800,
) -> dict[str, Any]:
    """Every member answers every prompt: one member after the other, then all at once (JSON-able).

    Args:
        family: a folder, or a family; None: the one that ships.
        members: None given: five exits spread over all depths, the full model among them.
        prompts: None: ``requests`` questions about pictures (the family that ships, or another of its kind).
        requests: how many of those.
        tokens: of an answer; every answer has exactly so many.
        deadline: seconds for all at once.

    Raises:
        InputError: for members that are not there, or no prompt.
        AiflowError: if a member failed, or the deadline passed.
    """
    made = family if isinstance(family, Family) else Family.from_pretrained(family or _shipped(), dtype="float32")
    asked = list(_pictures(family or _shipped(), requests) if prompts is None else prompts)
    if not asked:
        raise InputError("there is no prompt; ask for at least one request.")
    chosen = tuple(members) or spread(made)
    models = {member: made.member(member).eval() for member in chosen}
    with cpu_threads(1):  # sums in another order would be other sums
        for model in models.values():
            answers(model, asked[:1], tokens)  # warms up
        start = time.perf_counter()
        alone = {member: answers(model, asked, tokens) for member, model in models.items()}
        middle = time.perf_counter()
        together = at_once(models, asked, tokens, deadline)
        end = time.perf_counter()
    count = len(asked) * len(chosen)
    rows: list[dict[str, Any]] = [
        {"member": str(m), "parameters": made.count(m), "bytes": held([models[m]])} | compare(alone[m], together[m])
        for m in chosen
    ]
    result: dict[str, Any] = {"requests": len(asked), "tokens": tokens, "threads": len(chosen), "members": rows}
    result["alone"] = {"seconds": middle - start, "requests_per_s": count / (middle - start)}
    result["together"] = {"seconds": end - middle, "requests_per_s": count / (end - middle)}
    result["bytes"] = {
        "shared": held(models.values()),
        "separate": sum(row["bytes"] for row in rows),
        "largest": max(row["bytes"] for row in rows),
    }
    return result | {"met": len(chosen) == EXITS and all(row["equal"] for row in rows)}


def spread(family: Family, count: int = EXITS) -> tuple[Member, ...]:
    """``count`` exits with their whole branches, evenly over all, the first and the full model among them."""
    exits = family.exits
    count = min(count, len(exits))
    places = sorted({round(i * (len(exits) - 1) / max(1, count - 1)) for i in range(count)} | {len(exits) - 1})
    return tuple(Member(exit=exits[i]) for i in places)


def answers(model: Any, prompts: Iterable[Prompt], tokens: int) -> list[Said]:
    """Greedy answers of exactly ``tokens`` tokens, one prompt at a time."""
    found = []
    with torch.inference_mode():
        for prompt in prompts:
            out = model.generate(
                **prompt,
                attention_mask=torch.ones_like(prompt["input_ids"]),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
            width = prompt["input_ids"].shape[1]
            found.append(Said(ids=tuple(out.sequences[0, width:].tolist()), logits_TV=torch.cat(out.logits)))
    return found


def at_once(
    models: Mapping[Member, Any], prompts: Sequence[Prompt], tokens: int, deadline: float
) -> dict[Member, list[Said]]:
    """The same, each member in a thread of its own, all starting together. Raises AiflowError."""
    found: dict[Member, list[Said]] = {}
    gate = threading.Barrier(len(models))

    def serve(member: Member, model: Any) -> None:
        torch.set_num_threads(1)
        gate.wait(deadline)
        found[member] = answers(model, prompts, tokens)

    threads = [threading.Thread(target=serve, args=pair, daemon=True) for pair in models.items()]
    end = time.monotonic() + deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    missing = [str(member) for member in models if member not in found]
    if missing:
        raise AiflowError(f"no answers of the members {', '.join(missing)} within {deadline:g} s; see above.")
    return found


def compare(alone: Sequence[Said], together: Sequence[Said]) -> dict[str, Any]:
    """How many answers differ, and by how much logits do; ``equal``: nothing does, bit by bit."""
    pairs = list(zip(alone, together, strict=True))
    differing = sum(a.ids != b.ids for a, b in pairs)
    same = all(torch.equal(a.logits_TV, b.logits_TV) for a, b in pairs)
    worst = max(float((a.logits_TV - b.logits_TV).abs().max()) for a, b in pairs)
    return {"equal": same and not differing, "answers_differ": differing, "logits_differ": worst}


def held(models: Iterable[Any]) -> int:
    """Bytes of the models' weights in memory; what they share counts once."""
    storages = {}
    for model in models:
        for value in (*model.parameters(), *model.buffers(), *_wholes(model)):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _wholes(model: Any) -> Iterable[Tensor]:
    """The weights behind views of branches, which are not registered as parameters."""
    from aiflow.collaboration.familial.linear import First

    for module in model.modules():
        if isinstance(module, First):
            yield from module.whole.parameters()


def _shipped() -> Path:
    from aiflow.bench.familial import FAMILY, folder

    return folder(FAMILY, "a family")


def _pictures(folder: Any, count: int) -> list[Prompt]:
    """Questions about pictures, form by form, from the visual suites."""
    import numpy as np
    from transformers import AutoTokenizer

    from aiflow.nano import tokenizer as tok
    from aiflow.nano.data.dialogue import ask
    from aiflow.nano.family.batches import encode
    from aiflow.nano.family.model import pixels
    from aiflow.nano.visual import suites
    from aiflow.nano.visual.questions import FORMS

    if isinstance(folder, Family):
        raise InputError("a family in memory has no tokenizer; give prompts.")
    tokenizer, each = AutoTokenizer.from_pretrained(folder), -(-count // len(FORMS))
    items = [item for row in zip(*(suites.suite(form, each) for form in FORMS), strict=True) for item in row]
    found: list[Prompt] = []
    for item in items[:count]:
        ids, _, image = encode(tokenizer, (item.image, ask(item.prompt, "")[:1]))
        ids_1T = torch.tensor([[*ids, tok.ASSISTANT]])
        found.append({"input_ids": ids_1T, "pixel_values": pixels(np.stack([image]))})
    return found


def show(result: dict[str, Any]) -> None:
    """Prints the comparison by member, the rates and the memory."""
    from rich.console import Console

    from aiflow.bench.familial.tables import table

    rows = [
        [
            row["member"],
            f"{row['parameters']:,}",
            show_bytes(row["bytes"]),
            str(row["answers_differ"]),
            f"{row['logits_differ']:.1e}" if row["logits_differ"] else "0",
            "yes" if row["equal"] else "no",
        ]
        for row in result["members"]
    ]
    heads = ("member", "parameters", "weights", "other answers", "other logits", "bit-equal")
    table(Console(), f"Serving · {result['requests']} requests to each of {len(rows)} members", heads, rows, left=1)
    alone, together, size = result["alone"], result["together"], result["bytes"]
    print(
        f"  one after the other {alone['requests_per_s']:.2f} requests/s, all at once "
        f"{together['requests_per_s']:.2f} requests/s ({result['threads']} threads)\n"
        f"  weights in one process: {show_bytes(size['shared'])}, the largest member alone "
        f"{show_bytes(size['largest'])}, each loaded for itself {show_bytes(size['separate'])}\n"
        f"  an agent has a process of its own and reads only its member's weights: there nothing is shared"
    )
