"""What is made of marks: each figure by hand on a few questions, and the ways in which a wrong rule would show."""

import pytest

from aiflow.bench.suites.vqa import score
from aiflow.bench.suites.vqa.data import Item
from aiflow.bench.suites.vqa.figures import marks, of_model
from aiflow.bench.suites.vqa.rules import ANLS, CHOICE, CIRCULAR, HALLUSION, MME, MMMU_CHOICE, OCRBENCH, POPE, RELAXED
from aiflow.errors import DataError


def item(number: object, answer: str, said: str | None, **more: object) -> Item:
    return Item(id=str(number), question="?", answer=answer, said={"m": said}, **more)  # type: ignore[arg-type]


AB = {"A": "cat", "B": "dog"}


def rotated() -> list[Item]:
    """Two questions, each in two rotations; the second is right in one of them only."""
    turned = {"A": "dog", "B": "cat"}
    return [
        item(1, "A", "A", options=AB, category="x", split="dev", data={"l2-category": "coarse_perception"}),
        item(2, "B", "B", options=AB, category="y", split="dev", data={"l2-category": "logic_reasoning"}),
        item(1_000_001, "B", "the cat", options=turned, category="x", split="dev"),
        item(1_000_002, "A", "B", options=turned, category="y", split="dev"),
    ]


def test_circular_asks_for_every_rotation_and_plain_does_not() -> None:
    found = of_model(CIRCULAR, rotated(), "m")
    assert {name: found[name] for name in ("split", "Overall", "CP", "LR", "x", "y", "score", "n", "rows")} == {
        "split": "dev", "Overall": 0.5, "CP": 1.0, "LR": 0.0, "x": 1.0, "y": 0.0, "score": 0.5, "n": 2, "rows": 4,
    }  # fmt: skip
    assert of_model(CHOICE, rotated(), "m")["Overall"] == 0.75


def test_rotations_need_numbers_and_their_question() -> None:
    with pytest.raises(DataError, match=r"index 'q1' is no number"):
        of_model(CIRCULAR, [item("q1", "A", "A", options=AB)], "m")
    lone = item(1_000_007, "A", "B", options=AB)
    found = of_model(CIRCULAR, [*rotated(), lone], "m")
    assert (found["n"], found["rows"], found["orphans"], found["Overall"]) == (2, 5, 1, 0.5)
    with pytest.raises(DataError, match="only rotations of questions"):
        of_model(CIRCULAR, [lone], "m")


def test_what_names_no_option_is_wrong_and_counted() -> None:
    items = [
        item(1, "A", "hm", options=AB),
        item(2, "A", None, options=AB),
        item(3, "A", " ", options=AB),
        item(4, "A", "A", options=AB),
    ]
    found = of_model(CHOICE, items, "m")
    assert (found["Overall"], found["n"], found["unmatched"], found["empty"]) == (0.25, 4, 3, 2)


def test_questions_that_a_model_was_not_asked_are_counted_apart() -> None:
    items = [item(1, "A", "A", options=AB), Item(id="2", question="?", answer="A", options=AB, said={"other": "A"})]
    found = of_model(CHOICE, items, "m")
    assert (found["Overall"], found["n"], found["absent"]) == (1.0, 1, 1)


def test_recorded_scores_that_differ_are_counted() -> None:
    items = [item(n, "A", "A", options=AB, hits={"m": hit}) for n, hit in enumerate((1.0, 0.0))]
    assert of_model(CHOICE, items, "m")["disagree"] == 1
    assert "disagree" not in of_model(CHOICE, [item(1, "A", "A", options=AB)], "m")


def test_splits_are_reported_apart() -> None:
    items = [item(1, "A", "A", options=AB, split="dev"), item(2, "A", "B", options=AB, split="validation")]
    found = of_model(CHOICE, items, "m")
    assert (found["split"], found["Overall"], found["splits"]["dev"]["Overall"]) == ("ALL", 0.5, 1.0)
    assert of_model(MMMU_CHOICE, items, "m")["score"] == 0.0


def test_open_questions_of_mmmu_become_options() -> None:
    items = [
        item(1, "12", "12"),
        item(2, "12", "13"),
        item(3, "C", "A"),
        item(4, "C", "C", options={"A": "x", "B": "y", "C": "z"}),
    ]
    assert of_model(MMMU_CHOICE, items, "m")["Overall"] == 0.5


def test_percents_by_split_or_by_category() -> None:
    items = [item(1, "10", "10.2", split="human"), item(2, "10", "12", split="augmented")]
    found = of_model(RELAXED, items, "m")
    assert (found["human"], found["augmented"], found["Overall"], found["score"]) == (100.0, 0.0, 50.0, 50.0)
    one = of_model(ANLS, [item(1, "['hello', 'x']", "hallo", category="c")], "m")
    assert one["c"] == pytest.approx(80.0)


def mme_items(second: str) -> list[Item]:
    return [
        item(f"{category}{n}", gold, said, category=category, image=f"{category}.jpg")
        for category in (*score.PERCEIVED, *score.REASONED)
        for n, (gold, said) in enumerate((("Yes", "yes"), ("No", second)))
    ]


def test_mme_adds_the_accuracy_of_both_questions_on_an_image() -> None:
    assert [of_model(MME, mme_items("no"), "m")[name] for name in ("perception", "cognition")] == [2000.0, 800.0]
    found = of_model(MME, mme_items("yes"), "m")
    assert (found["perception"], found["reasoning"], found["total"], found["OCR"]) == (500.0, 200.0, 700.0, 50.0)
    assert of_model(MME, mme_items("perhaps"), "m")["unparsed"] == 14


def test_mme_without_a_category_has_no_sum() -> None:
    found = of_model(MME, mme_items("no")[2:], "m")
    assert (found["perception"], found["total"], found["cognition"]) == (None, None, 800.0)


def test_pope_is_f1_of_yes() -> None:
    items = [
        item(1, "Yes", "yes", category="random"),
        item(2, "Yes", "no", category="random"),
        item(3, "No", "yes", category="popular"),
        item(4, "No", "No.", category="popular,random"),
    ]
    found = of_model(POPE, items, "m")
    assert found["Overall"] == found["precision"] == found["recall"] == pytest.approx(50.0)
    assert found["acc"] == pytest.approx(60.0)  # the fourth counts in both of its categories
    assert found["splits"]["popular"]["Overall"] == 0.0


def test_hallusion_bench_asks_for_all_of_a_figure_and_of_a_question() -> None:
    items = [
        item(f"VD_chart_x_0_{figure}_{question}", "Yes", said, category="VD", data={"l2-category": "chart"})
        for figure, question, said in ((0, 0, "Yes"), (0, 1, "Yes"), (1, 0, "Yes"), (1, 1, "No"))
    ]
    found = of_model(HALLUSION, items, "m")
    assert (found["aAcc"], found["fAcc"], found["qAcc"]) == (75.0, 50.0, 50.0)
    assert set(found["splits"]) == {"VD", "chart"}
    with pytest.raises(DataError, match="does not tell set, figure and question"):
        of_model(HALLUSION, [item("7", "Yes", "Yes")], "m")


def test_ocrbench_counts_its_parts() -> None:
    items = [
        item(1, "['one']", "ONE!", category="Regular Text Recognition"),
        item(2, "['two']", "two", category="Handwriting Recognition"),
        item(3, "['a b']", "a  b", category="Doc-oriented VQA"),
    ]
    found = of_model(OCRBENCH, items, "m")
    assert (found["Text Recognition"], found["Doc-oriented VQA"], found["Final Score"], found["score"]) == (2, 0, 2, 2)
    with pytest.raises(DataError, match="unknown category 'poems'"):
        of_model(OCRBENCH, [item(1, "['x']", "x", category="poems")], "m")


def test_a_draw_is_the_same_each_time() -> None:
    from aiflow.bench.suites.vqa.rules import MMMU_OWN

    items = [item(n, "A", "no idea", options=AB, category="Art") for n in range(20)]
    first = [mark.value for mark in marks(MMMU_OWN, items, ["no idea"] * 20)]
    assert first == [mark.value for mark in marks(MMMU_OWN, items, ["no idea"] * 20)]
    assert 0 < sum(first) < 20
    assert of_model(MMMU_OWN, items, "m")["unmatched"] == 20
