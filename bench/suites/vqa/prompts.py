"""How a question is put to a model: the lines of the LLaVA family, and MMMU's own form. Pure."""

from aiflow.bench.suites.vqa import rules
from aiflow.bench.suites.vqa.data import Item
from aiflow.bench.suites.vqa.rules import Rule

LETTER = "Answer with the option's letter from the given choices directly."
LETTER_CN = "请直接回答选项字母。"
SHORT = "Answer the question using a single word or phrase."
_STATED = "yes or no"


def prompt(item: Item, rule: Rule) -> str:
    """The text that is asked about the images: hint, question, options, and what form the answer is to have."""
    question = f"{item.hint}\n{item.question}" if item.hint else item.question
    if rule is rules.MMMU_OWN:
        listed = "\n".join(f"({letter}) {text}" for letter, text in item.options.items())
        return "\n\n".join([question, listed, LETTER] if listed else [question, SHORT])
    if item.options:
        listed = "\n".join(f"{letter}. {text}" for letter, text in item.options.items())
        asked = f"{question}\n{listed}"
        return f"{asked}\n{LETTER_CN if chinese(asked) else LETTER}"
    if not rule.short or _STATED in question.lower():
        return question
    return f"{question}\n{SHORT}"


def chinese(text: str) -> bool:
    """Whether it holds a Chinese character."""
    return any("\u4e00" <= char <= "\u9fff" for char in text)
