import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.graphs.blocks.names import find_names

DEVICES = ["math", "code", "bio", "math-2", "Pocket Physics", "größe"]


@pytest.mark.parametrize(
    ("reply", "count", "found"),
    [
        ("math, code", 2, ["math", "code"]),
        ("code\nmath", 2, ["code", "math"]),
        ("1. Math\n2. CODE", 2, ["math", "code"]),
        ("1) bio 2) math", 2, ["bio", "math"]),
        ('"math", "code"', 2, ["math", "code"]),
        ("- **math**: good with numbers\n- `code`: programs", 2, ["math", "code"]),
        ("['code', 'bio']", 2, ["code", "bio"]),
        ('{"assistants": ["bio", "code"]}', 2, ["bio", "code"]),
        ("I would ask the math assistant first, and then Code.", 2, ["math", "code"]),
        ("math, math, math, code", 2, ["math", "code"]),
        ("math, code, bio", 2, ["math", "code"]),
        ("math", 2, ["math"]),
        ("math-2", 1, ["math-2"]),
        ("Math 2, math", 2, ["math-2", "math"]),
        ("math_2", 1, ["math-2"]),
        ("pocket physics", 1, ["Pocket Physics"]),
        ("pocket-physics; bio", 2, ["Pocket Physics", "bio"]),
        ("PocketPhysics", 1, ["Pocket Physics"]),
        ("maths and codes", 2, ["math", "code"]),
        ("mtah, bio", 2, ["math", "bio"]),
        ("Poket Physiks", 1, ["Pocket Physics"]),
        ("Größe", 1, ["größe"]),
        ("the biography of a mathematician", 2, []),
        ("none of them", 2, []),
        ("", 2, []),
        ("42", 1, []),
        ("\0\0\0", 1, []),
    ],
)
def test_sloppy_replies(reply: str, count: int, found: list[str]) -> None:
    assert find_names(reply, DEVICES, count) == found


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, unique=True), st.integers(1, 5))
def test_any_text_gives_distinct_known_names(reply: str, names: list[str], count: int) -> None:
    found = find_names(reply, names, count)
    assert len(found) == len(set(found)) <= count
    assert set(found) <= set(names)


@given(st.permutations(DEVICES), st.sampled_from([", ", "\n", " and ", "; ", " > "]), st.integers(1, 6))
def test_names_written_out_are_found_in_order(order: list[str], separator: str, count: int) -> None:
    assert find_names(separator.join(order), DEVICES, count) == order[:count]
