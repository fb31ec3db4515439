"""The normal form in which VQA answers are compared: no punctuation, no articles, digits, contractions. Pure.

The rules of the VQA evaluation tool as VLMEvalKit applies them (``process_punctuation``, ``process_answer``), oddities
included: they decide published scores.
"""

import functools
import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32  # the tool passes a flag of this value where the count belongs
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_ONE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's "
    "isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't shouldn't "
    "should've somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're "
    "there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd "
    "where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't "
    "y'all you'd you'll you're you've"
)
_TWO = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've "
    "there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've"
)
_ODD = {"ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at", "somebody'd": "somebodyd"}
_ODD |= {"y'alld've": "y'all'd've"}


def unpunctuated(text: str) -> str:
    """Marks become spaces, or nothing where one of the kind stands beside a space or a comma between digits."""
    glued = _COMMA.search(text) is not None
    found = text
    for mark in _PUNCTUATION:
        if mark in text:
            found = found.replace(mark, "" if glued or mark + " " in text or " " + mark in text else " ")
    return _PERIOD.sub("", found, count=_PERIODS)


def normal(text: str) -> str:
    """The form in which two answers are compared."""
    plain = unpunctuated(text.replace("\n", " ").replace("\t", " ").strip())
    words = (_DIGITS.get(word, word) for word in plain.lower().split())
    known = _contractions()
    return " ".join(known.get(word, word) for word in words if word not in _ARTICLES)


@functools.cache
def _contractions() -> dict[str, str]:
    """What is written without its apostrophe, or without one of two -> as it should be."""
    found = {word.replace("'", ""): word for word in _ONE.split()} | _ODD
    for word in _TWO.split():
        first, last = word.index("'"), word.rindex("'")
        found[word[:first] + word[first + 1 :]] = found[word[:last] + word[last + 1 :]] = word
    return found
