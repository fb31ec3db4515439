"""The recorded models in the words of their model cards, and the pools that collaborations are formed from."""

ABOUT = {
    "NousResearch--Nous-Hermes-13b": "long answers to general instructions, storytelling",
    "Open-Orca--OpenOrca-Platypus2-13B": "STEM and logic questions, reasoning explained step by step",
    "OpenAssistant--codellama-13b-oasst-sft-v10": "programming, generating and discussing code",
    "OpenAssistant--falcon-40b-sft-mix-1226": "dialogue with an open assistant",
    "OpenAssistant--llama2-70b-oasst-sft-v10": "dialogue with an open assistant, several languages",
    "OpenAssistant--oasst-sft-7-llama-30b": "dialogue with an open assistant",
    "OpenAssistant--pythia-12b-sft-v8-7k-steps": "dialogue with an early open assistant",
    "WizardLM--WizardCoder-Python-13B-V1.0": "programming in Python",
    "WizardLM--WizardLM-70B-V1.0": "complex instructions, writing, reasoning",
    "WizardLM--WizardMath-13B-V1.0": "mathematics, word problems solved step by step",
    "ehartford--dolphin-llama-13b": "uncensored general instructions, reasoning traces",
    "gpt-3.5-turbo-0613": "general assistant: writing, code, facts",
    "gpt-4-0613": "general assistant: hard reasoning, mathematics, code, writing, facts",
    "lmsys--vicuna-7b-v1.3": "chat, a small general assistant",
    "meta-llama--Llama-2-70b-chat-hf": "helpful and safe chat, writing, roleplay",
    "meta-llama--Llama-2-7b-chat-hf": "helpful and safe chat on a small machine",
    "mistralai--Mistral-7B-Instruct-v0.1": "small general instructions, reasoning, some code",
    "mosaicml--mpt-30b-chat": "multi-turn chat, long context",
    "stabilityai--StableBeluga-13B": "general instructions in the manner of Orca",
    "stabilityai--StableBeluga2": "general instructions in the manner of Orca, reasoning, writing",
    "tiiuae--falcon-7b-instruct": "short instructions on a small machine",
}
SMALL = ("7b", "12b", "13b")


def about(model: str) -> str:
    """What the model is for; its own name where no card is known."""
    return ABOUT.get(model, model.split("--")[-1])


def short(model: str) -> str:
    """The name without its publisher."""
    return model.split("--")[-1]


def pools(models: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """All models; those with open weights; those of at most 13 B parameters, which a device can hold."""
    open_weights = tuple(m for m in models if not m.startswith("gpt-"))
    small = tuple(m for m in open_weights if any(size in m.lower() for size in SMALL))
    known = {f"all {len(models)} models": models, f"{len(open_weights)} open models": open_weights}
    return {name: pool for name, pool in (known | {f"{len(small)} models up to 13B": small}).items() if len(pool) > 1}
