"""A policy and a corpus small enough for a laptop: what benchmarks and tiny ablations share.

The corpus is the sample of nine documents; the last of each file is held out. The policy is a llama
of four layers with a tokenizer of its own, made of the documents that are not. Its weights are
random until it is trained, which takes a minute.
"""

import json
from collections.abc import Sequence
from pathlib import Path

MODEL = "models/smollm2-135m-instruct"
SAMPLE = Path("configs/sample")
VOCABULARY = 2048
END = "<|endoftext|>"
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def documents() -> dict[str, list[tuple[str, str]]]:
    """(text, file) of the documents to `train` on, and of the `held` ones."""
    split: dict[str, list[tuple[str, str]]] = {"train": [], "held": []}
    for file in sorted(SAMPLE.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        texts = [(json.loads(line)["text"], file.stem) for line in lines]
        split["train"] += texts[:-1]
        split["held"] += texts[-1:]
    return split


def write_start(folder: Path, texts: Sequence[str]) -> None:
    """A byte-level tokenizer of `texts`, and the policy's shape, without weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END
    ).save_pretrained(folder)
    config = AutoConfig.for_model(
        "llama", vocab_size=VOCABULARY, architectures=["LlamaForCausalLM"], **SHAPE
    )
    config.save_pretrained(folder)


def write_corpus(file: Path, texts: Sequence[tuple[str, str]]) -> None:
    """Documents (text, source) as JSON lines that `rewrite` reads."""
    lines = [json.dumps({"text": text, "source": source}) + "\n" for text, source in texts]
    file.write_text("".join(lines), encoding="utf-8")
