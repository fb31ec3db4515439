"""Peak memory and time of decomposing a random checkpoint block by block, and what the times say about 7 B parameters.

The checkpoint is written tensor by tensor into a temporary folder and decomposed by a process of its own, whose peak
resident memory counts, libraries included. Weights are random: neither memory nor time depends on their values.

Legend: M outputs, N inputs of a linear.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from aiflow.errors import AiflowError, UsageError
from aiflow.units import show_bytes

BAR_GB = 2.5
"""Most that the peak may be for a billion parameters, in 10^9 bytes."""
LLAMA_7B = (32, 4096, 11008)
"""Blocks, model size and MLP size."""
_WIDTHS = ((5e8, 2048, 5632, 32000), (3e7, 512, 1408, 8000), (0, 256, 704, 2048))
_CHILD = "import sys; from aiflow.bench.familial.memory import child; child(sys.argv[1])"


def run(
    *,
    parameters: float = 1e9,
    tokens: int = 8192,
    keep: float = 0.5,
    sizes: Sequence[tuple[int, int]] = ((512, 512), (1024, 1024), (1024, 2816)),
    threads: int | None = None,
    folder: Path | None = None,
    deadline: float = 3 * 3600,
) -> dict[str, Any]:
    """Makes a checkpoint, decomposes it and returns what it took (JSON-able).

    Args:
        parameters: about how many the model has (bfloat16, sharded by block); below 5e8 it is narrower, too.
        tokens: of calibration, random. Fewer than the MLP's width make its Gram matrix singular.
        keep: kept share of the linears' parameters, the same for each.
        sizes: (M, N) of further matrices that are timed alone, for the fit.
        threads: of torch; None: its default.
        folder: where the temporary folder is made; None: the system's place for those.
        deadline: seconds for the decomposition.

    Raises:
        UsageError: too few parameters for one block, or too little disk space.
        AiflowError: the decomposition failed, or did not end within ``deadline``.
    """
    config = _config(parameters)
    needed, free = int(5 * parameters), shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < needed:
        raise UsageError(f"{show_bytes(needed)} of disk are needed, {show_bytes(free)} are free; give another folder.")
    with tempfile.TemporaryDirectory(prefix="aiflow-memory-", dir=folder) as temporary:
        source, out = Path(temporary) / "model", Path(temporary) / "decomposed"
        count = write(source, config)
        order = {"source": str(source), "out": str(out), "tokens": tokens, "keep": keep, "threads": threads}
        found = _decompose(order | {"sizes": [list(size) for size in sizes]}, deadline)
        disk = {"source": _size(source), "decomposed": _size(out)}
    result = {"parameters": count, "blocks": config.num_hidden_layers, "tokens": tokens, "keep": keep, "disk": disk}
    result |= {"bar_gb": BAR_GB, "met": found["peak_gb"] <= BAR_GB} | found
    return result | {"extrapolation": extrapolate(found, config)}


def _config(parameters: float) -> Any:
    """A Llama of about that many parameters: the widest kind that fits, as deep as needed."""
    from transformers import LlamaConfig

    d, mlp, vocabulary = next(row[1:] for row in _WIDTHS if parameters >= row[0])
    depth = round((parameters - 2 * vocabulary * d) / (4 * d * d + 3 * d * mlp))
    if depth < 1:
        raise UsageError(f"{parameters:g} parameters are not one block of width {d}; give at least 2e6.")
    return LlamaConfig(
        hidden_size=d,
        intermediate_size=mlp,
        vocab_size=vocabulary,
        num_hidden_layers=depth,
        num_attention_heads=d // 64,
        num_key_value_heads=d // 64,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )


def write(folder: Path, config: Any) -> int:
    """A random bfloat16 checkpoint in shards, one tensor in memory at a time. Returns the number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM

    from aiflow.collaboration.familial.store import Lazy
    from aiflow.collaboration.familial.store import write as store

    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in AutoModelForCausalLM.from_config(config).named_parameters()}
    torch.manual_seed(0)

    def lazy(shape: tuple[int, ...]) -> Lazy:
        def load() -> Any:
            made = torch.empty(shape, dtype=torch.bfloat16)
            return made.normal_(0, 0.02) if len(shape) > 1 else made.fill_(1.0)

        return Lazy(shape=shape, dtype=torch.bfloat16, load=load)

    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    places: dict[str, str] = {}
    for name, group in _shards(shapes):
        store(folder / name, {tensor: lazy(shapes[tensor]) for tensor in group})
        places |= dict.fromkeys(group, name)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def _shards(names: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """One shard per block, one for the rest."""
    groups: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        groups.setdefault(parts[2] if parts[1] == "layers" else "rest", []).append(name)
    for key, group in groups.items():
        yield f"model-{key}.safetensors", group


def _decompose(order: dict[str, Any], deadline: float) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(order)], stdout=subprocess.PIPE, timeout=deadline, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise AiflowError(
            f"the decomposition did not end within {deadline:g} s; give it more, or fewer parameters."
        ) from error
    except subprocess.CalledProcessError as error:
        raise AiflowError(
            f"the decomposition ended with status {error.returncode}; its messages stand above."
        ) from error
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"process_seconds": time.perf_counter() - start}


def child(order: str) -> None:
    """What the process of its own does: decomposes, times, and prints one JSON object. ``order``: JSON of `run`."""
    import torch

    from aiflow.collaboration.familial.checkpoint import open_checkpoint
    from aiflow.collaboration.familial.decompose import decompose

    given = json.loads(order)
    if given["threads"]:
        torch.set_num_threads(given["threads"])
    vocabulary = open_checkpoint(given["source"]).text.vocab_size
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, vocabulary, (1, 256), generator=generator) for _ in range(-(-given["tokens"] // 256))]
    libraries, start = _peak(), time.perf_counter()

    def say(done: int, total: int, what: str) -> None:
        print(f"  {what} ({done} of {total} done, {time.perf_counter() - start:.0f} s)", file=sys.stderr)

    report = decompose(
        given["source"], given["out"], [(ids, None) for ids in rows], levels=[given["keep"]], progress=say
    )
    seconds, peak = time.perf_counter() - start, _peak()
    result: dict[str, Any] = {"peak_gb": peak / 1e9, "libraries_gb": libraries / 1e9, "seconds": seconds}
    result |= {"threads": torch.get_num_threads(), "shapes": _shapes(report), "alone": _alone(given["sizes"])}
    print(json.dumps(result))


def _peak() -> int:
    """Peak resident bytes of this process; not ru_maxrss where that can be helped, which begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _shapes(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean times by shape. The whitening of a shared input is the time of the first linear that reads it."""
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in report["matrices"]:
        rows.setdefault(tuple(row["shape"]), []).append(row)
    return [
        {
            "m": m,
            "n": n,
            "count": len(group),
            "seconds": fmean(x["seconds"] for x in group),
            "whitening_seconds": fmean([x["whitening_seconds"] for x in group if x["whitening_seconds"]] or [0.0]),
            "method": group[0]["method"],
        }
        for (m, n), group in rows.items()
    ]


def _alone(sizes: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Times of single random matrices, whitened by random inputs."""
    import torch

    from aiflow.collaboration.familial.factor import Gram, factor, whiten

    found = []
    for m, n in sizes:
        weight_MN, gram = torch.randn(m, n), Gram(n)
        gram.add(torch.randn(n + n // 4, n))
        start = time.perf_counter()
        whitening = whiten(gram)
        middle = time.perf_counter()
        factor(weight_MN, whitening)
        spent = {"seconds": time.perf_counter() - middle, "whitening_seconds": middle - start}
        found.append({"m": m, "n": n, "count": 1, **spent, "method": whitening.method})
    return found


def extrapolate(found: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Seconds of a 7 B Llama: factoring as c M N min(M, N), whitening as c N^3, all else as the sum of N^2.

    c is the mean over the sizes measured; ``spread`` is its largest ratio among them, so how much to trust it.
    """
    every = [*found["shapes"], *found["alone"]]
    factoring = [x["seconds"] / (x["m"] * x["n"] * min(x["m"], x["n"])) for x in every]
    whitening = [x["whitening_seconds"] / x["n"] ** 3 for x in every if x["whitening_seconds"]]
    factored = sum(x["count"] * x["seconds"] for x in found["shapes"])
    whitened = config.num_hidden_layers * _whitening(fmean(whitening), config.hidden_size, config.intermediate_size)
    rest = max(0.0, found["seconds"] - factored - whitened)
    blocks, d, mlp = LLAMA_7B
    squares = (3 * d * d + mlp * mlp) / (3 * config.hidden_size**2 + config.intermediate_size**2)
    times = {
        "factoring": blocks * fmean(factoring) * (4 * d**3 + 3 * d * d * mlp),
        "whitening": blocks * _whitening(fmean(whitening), d, mlp),
        "rest": rest * squares * blocks / config.num_hidden_layers,
    }
    shapes = [(d, d), (mlp, d), (d, mlp)]
    return {
        "model": f"Llama of {blocks} blocks, {d} x {mlp}",
        "seconds": sum(times.values()),
        **{f"{name}_seconds": value for name, value in times.items()},
        "per_shape": {f"{m}x{n}": fmean(factoring) * m * n * min(m, n) for m, n in shapes},
        "constant": fmean(factoring),
        "spread": max(factoring) / min(factoring),
    }


def _whitening(constant: float, d: int, mlp: int) -> float:
    """Seconds of a block's four whitenings."""
    return constant * (3 * d**3 + mlp**3)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def show(result: dict[str, Any]) -> None:
    """Prints the peak, the times by shape and the extrapolation."""
    from rich.console import Console

    from aiflow.bench.familial.tables import table

    rows = [
        [f"{x['m']} x {x['n']}", str(x["count"]), f"{x['whitening_seconds']:.2f}", f"{x['seconds']:.2f}", x["method"]]
        for x in [*result["shapes"], *result["alone"]]
    ]
    beyond = result["extrapolation"]
    rows += [
        [shape.replace("x", " x "), "7 B", "", f"{t:.1f}", "estimated"] for shape, t in beyond["per_shape"].items()
    ]
    title = f"Decomposition · {result['parameters'] / 1e6:,.0f} M parameters, {result['blocks']} blocks"
    table(Console(), title, ("shape", "count", "whitening s", "factoring s", "method"), rows, left=1)
    disk = result["disk"]
    print(
        f"  peak {result['peak_gb']:.2f} GB, {result['libraries_gb']:.2f} GB of it libraries  (bar: <= {BAR_GB} GB)\n"
        f"  {result['seconds']:.0f} s on {result['threads']} threads; read {show_bytes(disk['source'])}, "
        f"wrote {show_bytes(disk['decomposed'])}\n"
        f"  7 B: about {beyond['seconds'] / 3600:.1f} h; t = {beyond['constant']:.2e} s x M N min(M, N), "
        f"its constant varies by {beyond['spread']:.1f} x"
    )
