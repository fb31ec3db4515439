"""Messages are read from every usual form; bad ones are refused with one line that says what to do."""

import io

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from aiflow.errors import InputError
from aiflow.types import Image, Message, Options, Usage, conversation

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6360000002000154a24f5d00000000"
    "49454e44ae426082"
)


@pytest.mark.parametrize(
    "form",
    [
        "hi",
        Message("user", "hi"),
        ("user", "hi"),
        ("human", "hi"),
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        HumanMessage("hi"),
    ],
)
def test_every_form_of_a_message(form):
    assert Message.of(form) == Message("user", "hi")
    assert conversation(form) == conversation([form]) == (Message("user", "hi"),)


def test_a_conversation_keeps_its_order():
    turns = conversation([HumanMessage("a"), AIMessage("b"), ("user", "c")])
    assert [(t.role, t.text) for t in turns] == [("user", "a"), ("assistant", "b"), ("user", "c")]


def test_images_round_trip_through_the_openai_form():
    message = Message("user", "what is this?", (Image(PNG),))
    assert Message.of(message.openai()) == message
    assert Image(PNG).media_type == "image/png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_the_usual_image_types_are_known(kind):
    from PIL import Image as Pil

    buffer = io.BytesIO()
    Pil.new("RGB", (2, 2)).save(buffer, kind)
    assert Image(buffer.getvalue()).media_type == f"image/{kind.lower()}"


BAD_MESSAGES = {
    "nothing": ([], "empty"),
    "blank": ("  \n", "empty"),
    "blank last turn": ([("user", "a"), ("user", "")], "empty"),
    "number": (3, "must be text or a list"),
    "list of numbers": ([3], "cannot read a message from int"),
    "role": ([("robot", "hi")], "role 'robot'"),
    "content": ([{"role": "user", "content": 3}], "must be text or a list"),
    "part": ([{"role": "user", "content": [{"type": "audio"}]}], "neither text nor image_url"),
    "remote image": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}],
        "not a base64 data URL",
    ),
    "bad base64": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}]}],
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_bad_messages(name):
    value, words = BAD_MESSAGES[name]
    with pytest.raises(InputError, match=words) as error:
        conversation(value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"hello", b"RIFFxxxxWAVE", "text", None])
def test_bytes_that_are_no_image(data):
    with pytest.raises(InputError, match="not an image"):
        Image(data)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": True},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"seed": -1},
        {"stop": ("",)},
    ],
)
def test_bad_options_name_the_option(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Options(**bad)


def test_one_stop_string_is_enough():
    assert Options(stop="\n").stop == ("\n",)


def test_usage_adds():
    one = Usage(requests=1, prompt_tokens=2, completion_tokens=3, seconds=0.5)
    assert one + one == Usage(requests=2, prompt_tokens=4, completion_tokens=6, seconds=1.0)
