"""The stages of `aiflow train nano`: what each model learns from, for how long, and how it is saved.

A stage runs in a process of its own: ``python -m aiflow.nano.stages '{"stage": "math", ...}'`` trains one model, prints
one JSON line of progress per checkpoint, and leaves the model and ``training.json`` (what was measured) in its folder.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aiflow.fitting import Recipe
from aiflow.nano.data import base, device, generalist, server

BASE_ID = "aiflow:nano/base"
RANK = 16
STREAMS: dict[str, Any] = {
    "base": base.stream,
    **device.STREAMS,
    "server": server.lesson,
    "generalist": generalist.stream,
}
WHOLE = ("base", "generalist")
"""Stages that train and save all weights; the others train an adapter on the base."""
_ADAPTER = Recipe(steps=800, lr=3e-3, batch_tokens=2048, warmup=30, decay=0.5, every=50)
RECIPES = {
    "base": Recipe(steps=1600, lr=3e-3, muon_lr=4e-3, decay=0.4, every=50),
    "math": replace(_ADAPTER, steps=1500),
    "code": replace(_ADAPTER, steps=1500),
    "text": replace(_ADAPTER, steps=2000),
    "islands": _ADAPTER,
    "minerals": replace(_ADAPTER, steps=720),
    "server": replace(_ADAPTER, steps=1150, lr=1.5e-3, batch_tokens=4096),
    "generalist": Recipe(steps=2200, lr=2e-3, muon_lr=3e-3, decay=0.5, every=50),
}


def run(
    stage: str, out: Path, work: Path, *, seed: int, scale: float = 1.0, resume: bool = True, threads: int = 1
) -> dict[str, Any]:
    """Trains one stage into ``out / stage`` and returns what was measured; checkpoints live in ``work``."""
    import torch

    from aiflow.fitting import fit
    from aiflow.nano.batches import endless
    from aiflow.nano.loop import backward

    torch.set_num_threads(threads)
    recipe = scaled(RECIPES[stage], scale)
    model, tokenizer = _start(stage, out, seed)
    data = partial(_data, endless, tokenizer, stage, seed, recipe)
    state = fit(
        model, data, recipe, backward, stage=stage, checkpoint=work / f"{stage}.pt", resume=resume, progress=tell
    )
    _save(model, tokenizer, stage, out / stage)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    report = {
        "stage": stage,
        "seed": seed,
        **state,
        "parameters": trained,
        "threads": threads,
        "learning_rate": recipe.muon_lr or recipe.lr,
        "versions": versions(),
    }
    (out / stage / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """The recipe with its steps scaled, at least one."""
    return replace(recipe, steps=max(1, round(recipe.steps * scale)))


def versions() -> dict[str, str]:
    """The versions of the libraries that decide the result."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "tokenizers")}


def _data(endless: Any, tokenizer: Any, stage: str, seed: int, recipe: Recipe, start: int) -> Any:
    return endless(tokenizer, STREAMS[stage], f"{seed} {stage}", recipe.batch_tokens, start, prompts=stage == "base")


def _start(stage: str, out: Path, seed: int) -> tuple[Any, Any]:
    from aiflow.nano.model import build, fuse_lora, use_fast_attention

    if stage == "base":
        from aiflow.nano.tokenizer import train_tokenizer

        return build(seed), train_tokenizer(seed)
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = out / "base"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    use_fast_attention(model)
    torch.manual_seed(seed)
    if stage in WHOLE:
        return model, AutoTokenizer.from_pretrained(folder)
    rank = 2 * RANK if stage == "server" else RANK
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    fuse_lora(adapted)
    return adapted, AutoTokenizer.from_pretrained(folder)


def _save(model: Any, tokenizer: Any, stage: str, folder: Path) -> None:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16)
    if stage in WHOLE:
        model.generation_config.update(do_sample=False, max_new_tokens=64)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    else:
        config = model.peft_config["default"]
        config.base_model_name_or_path = BASE_ID
        config.inference_mode = True
        model.save_pretrained(folder, save_embedding_layers=False)
    for file in folder.iterdir():
        file.chmod(0o644)


def tell(stage: str, step: int, steps: int, loss: float) -> None:
    """Prints one JSON line of progress."""
    print(json.dumps({"stage": stage, "step": step, "steps": steps, "loss": round(loss, 4)}), flush=True)


if __name__ == "__main__":
    _options = json.loads(sys.argv[1])
    run(_options.pop("stage"), Path(_options.pop("out")), Path(_options.pop("work")), **_options)
