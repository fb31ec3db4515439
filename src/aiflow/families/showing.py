"""Shows what a folder offers: its members and their sizes, and how good each one is."""

from pathlib import Path
from typing import Any

from aiflow.families import inputs
from aiflow.families import members as sizes
from aiflow.families.tables import end, percent, say, table


def members(name: str, *, parameters: str | None, memory: str | None, latency: str | None, json: bool) -> None:
    """Prints the members of a family, of a nested model, or those a plain model could have; and the one in budget."""
    wanted = sizes.budget(parameters, memory, latency)
    folder = inputs.plain_folder(name)
    found = sizes.rows(folder)
    sizes.show(found)
    result: dict[str, Any] = {"members": found}
    if wanted:
        chosen = sizes.choose(name, folder, found, wanted)
        result["chosen"] = chosen
        line = f"within the budget: member {chosen['member']}, {chosen['parameters']:,} parameters"
        if "seconds_per_token" in chosen:
            line += f", {1000 * chosen['seconds_per_token']:.3g} ms per token as measured here"
        print(line)
    end(result, json)


def evaluate(name: str, *, texts: Path, plot: Path | None, length: int, json: bool) -> None:
    """Prints size and quality of every member, and draws quality by size (in the form of the paper's Fig. 9)."""
    if plot is not None:
        inputs.one_of("plot suffix", plot.suffix, (".png", ".svg", ".pdf"))
    folder, lines = inputs.plain_folder(name), inputs.texts(texts)
    from aiflow.families import quality

    found = quality.measure(folder, lines, length=length, say=say)
    titles = ("member", "line", "parameters", "share", "bits/token", "perplexity", "capacity")
    cells = []
    for row in found["members"]:
        size = (row["member"], row["line"], f"{row['parameters']:,}", percent(row["share"]))
        capacity = "-" if row["capacity"] is None else f"{row['capacity']:.4f}"
        cells.append((*size, f"{row['bits']:.4f}", f"{row['perplexity']:.3f}", capacity))
    table(titles, cells)
    if plot is not None:
        quality.draw(found["members"], plot)
        say(f"wrote {plot}")
    end(found, json)
