"""A policy of three layers whose vocabulary is a handful of words, with chats and an end of them.

Its tokenizer is a byte-level one, as those of real models are, made of the toy texts: every word is
one token, with a space before it another one.
"""

from collections.abc import Sequence
from pathlib import Path

END, ASK, ANSWER = "<|end|>", "<|ask|>", "<|answer|>"
CHAT = (
    "{% for message in messages %}" + ASK + "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "initializer_range": 0.1,
    "head_dim": 32,  # vLLM's attention on a CPU takes no smaller one
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def write_start(folder: Path, texts: Sequence[str]) -> None:
    """A tokenizer of `texts`, and the policy's shape, without weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[END, ASK, ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    size = -(-tokenizer.get_vocab_size() // 64) * 64
    config = AutoConfig.for_model(
        "llama", vocab_size=size, architectures=["LlamaForCausalLM"], **SHAPE
    )
    config.save_pretrained(folder)
