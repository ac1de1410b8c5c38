"""Runs in the engine's Python: write a tiny Llama with tokenizer and chat template into the folder named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def main(target: Path) -> None:
    """Fixed seed and fixed text: the same bytes on every machine with the same wheels."""
    # in the engine only, not where this is checked
    import torch  # type: ignore[import-not-found]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-not-found]
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # type: ignore[import-not-found]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    # any English text will do; Python's own licence is in every Python
    tokenizer.train_from_iterator([Path(os.__file__).read_text(), *_texts()], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(target)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
    for file in target.iterdir():  # weights are saved for their maker only; an engine is another user
        file.chmod(0o644)


def _texts() -> list[str]:
    library = Path(os.__file__).parent
    return [file.read_text(encoding="utf-8") for file in sorted(library.glob("a*.py"))]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
