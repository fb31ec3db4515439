"""Captions: a question that asks for everything a picture shows, and the answer. They ground words in patches early on.

No suite asks for captions; they are to this family what image-text pairs are to the first stage of LLaVA.
"""

from aiflow.nano.visual.scenes import BIG, Chart, Diagram, Document, Scene, Shapes, Word


def caption(scene: Scene) -> tuple[str, str]:
    """A prompt and the full description of a scene, in reading order."""
    match scene:
        case Shapes():
            things = sorted(scene.things, key=lambda t: (t.y // 8, t.x))
            said = [f"{'big' if t.size == BIG else 'small'} {t.colour} {t.kind} {_place(t.centre)}" for t in things]
            return "List the objects from top to bottom.", ", ".join(said)
        case Word():
            return "List the characters.", " ".join(scene.text)
        case Chart():
            bars = zip(scene.colours, scene.heights, strict=True)
            return "List the bars from left to right.", ", ".join(f"{c} {h}" for c, h in bars)
        case Diagram():
            return "List the arrows.", ", ".join(f"{scene.nodes[a]} to {scene.nodes[b]}" for a, b in scene.arrows)
        case Document():
            rows = zip(scene.letters, scene.values, strict=True)
            return "List the fields.", ", ".join(f"{k} {v}" for k, v in rows)


def _place(centre: tuple[float, float]) -> str:
    x, y = centre
    return f"{'top' if y < 32 else 'bottom'} {'left' if x < 32 else 'right'}"
