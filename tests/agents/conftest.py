"""Agents without Ray, on simulated and on real time."""

import sys
from pathlib import Path

import pytest

from aiflow.agents.deployment import Deployment, connect
from aiflow.clock import VirtualClock

sys.path.insert(0, str(Path(__file__).parent))  # for `speakers`, which stands beside the tests

HOME = """
nodes: {phone: device, laptop: device, hub: cloud}
links:
  - {between: [device, cloud], rate: 500 KB/s, rtt: 0 ms}
"""


@pytest.fixture
def clock() -> VirtualClock:
    """Simulated time."""
    return VirtualClock()


@pytest.fixture
def simulated(clock: VirtualClock) -> Deployment:
    """A home with a cloud, in this process, on simulated time."""
    return connect(HOME, local=True, clock=clock)


@pytest.fixture
def here() -> Deployment:
    """The same on the wall clock, with links that take no time."""
    return connect(HOME, local=True, emulate=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random Llama that speaks letters, for servers that take any Hugging Face model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = ["<s>", "</s>", "<pad>", *"abcdefghijklmnopqrstuvwxyz:", "\u0120", "\u010a"]  # the last: space, line break
    raw = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = "<s>{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=2, initializer_range=0.4,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tiny")
    model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True  # else the server is greedy at any temperature
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)
