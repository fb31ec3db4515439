"""The openai back end against llama.cpp's server. Needs ``pip install xllamacpp gguf`` (100 MB), else it is skipped.

The server runs the weights of the tiny model in its own format and its own kernels; greedy answers must agree.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiflow.agents.backends import create
from aiflow.errors import BackendError
from aiflow.types import Answer, Message, Options

pytest.importorskip("xllamacpp")
gguf = pytest.importorskip("gguf")

TALK = [Message("user", "the cat and the dog")]
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def _convert(folder: str, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config, heads = model.config, model.config.num_attention_heads
    writer = gguf.GGUFWriter(str(target), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_token_list(words)
    writer.add_token_types([3] * 3 + [1] * (len(words) - 3))  # control, normal
    writer.add_token_merges(["a b"])  # of a token that does not exist: the format wants one
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.state_dict().items():
        module, array = name.removesuffix(".weight"), tensor.numpy()
        if module in OUTER:
            writer.add_tensor(f"{OUTER[module]}.weight", array)
            continue
        _, _, layer, part = module.split(".", 3)
        if part in ("self_attn.q_proj", "self_attn.k_proj"):  # rotary pairs: halves there, neighbours here
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(f"blk.{layer}.{NAMES[part]}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def url(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import xllamacpp

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    _convert(tiny, path)
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_gpu_layers, parameters.n_parallel, parameters.port = 512, 0, 2, 0
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


async def ask(model: str, talk: list[Message] = TALK, **options: Any) -> Answer:
    backend = create(model, **({"retries": 0} if "#" in model else {}))
    try:
        items = [item async for item in backend.stream(talk, Options(**options))]
    finally:
        await backend.close()
    assert isinstance(items[-1], Answer)
    assert "".join(item.text for item in items[:-1]) == items[-1].text
    return items[-1]


async def test_it_answers_as_the_same_weights_do_here(url: str, tiny: str) -> None:
    there, here = await ask(f"{url}#tiny", max_tokens=24), await ask(tiny, max_tokens=24)
    assert (there.text, there.finish) == (here.text, here.finish)
    assert there.usage.completion_tokens == here.usage.completion_tokens
    assert there.usage.prompt_tokens == here.usage.prompt_tokens
    stop = here.text[8:11]
    stopped = await ask(f"{url}#tiny", max_tokens=24, stop=(stop,))
    assert (stopped.text, stopped.finish) == (here.text[: here.text.index(stop)], "stop")


async def test_its_likeliest_tokens_are_those_of_the_same_weights_here(url: str, tiny: str) -> None:
    options = {"max_tokens": 6, "top_logprobs": 4}
    there, here = await ask(f"{url}#tiny", **options), await ask(tiny, **options)
    assert [[text for text, _ in place] for place in there.logprobs] == [
        ["" if text in ("<s>", "</s>", "<pad>") else text for text, _ in place] for place in here.logprobs
    ]  # it does not name special tokens
    for one, other in zip(there.logprobs, here.logprobs, strict=True):
        assert [p for _, p in one] == pytest.approx([p for _, p in other], abs=0.1)  # its cache is in half precision
    assert (await ask(f"{url}#tiny", max_tokens=6)).logprobs == ()


async def test_a_seed_repeats_a_sample(url: str) -> None:
    texts = [(await ask(f"{url}#tiny", max_tokens=12, temperature=1.0, seed=seed)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_a_question_beyond_its_context(url: str) -> None:
    with pytest.raises(BackendError, match="exceeds the available context size") as caught:
        await ask(f"{url}#tiny", [Message("user", "hi " * 2000)])
    assert "\n" not in str(caught.value)
