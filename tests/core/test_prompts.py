"""The prompts hold what the models were trained on; a change here needs new weights."""

from aiflow import prompts


def test_the_forms_that_the_embedded_models_know():
    talk = prompts.transcript([("user", "How many? "), ("assistant", "14"), ("user", "And now?")])
    assert talk == "User: How many?\nAssistant: 14\nUser: And now?"
    assert prompts.select(talk, [("math", "sums"), ("text", "lists")], 1) == (
        f"{talk}\n\nAssistants:\n- math: sums\n- text: lists\n\n"
        "Name the 1 best suited to the last question, best first."
    )
    assert prompts.merge(talk, [("math", "sums", " 15 ")]) == (
        f"{talk}\n\nAnswers:\n- math (sums): 15\n\nWrite the best answer to the last question."
    )
    assert prompts.revise(" 15\n") == "The joint answer is: 15\nWrite your final answer."
