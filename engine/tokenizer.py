"""One way from text to tokens: for chunks, training, export, evaluation and prompts.

A text is text. No added token with a sign in it comes out of one, whether the vocabulary marks it
as special (`<|im_end|>`) or not (`<think>`, DeepSeek's `<｜User｜>`), nor where the vocabulary
holds it as a word like any other (`</s>` of Unigram ones): there it is spelt. Added words without
a sign and runs of spaces are text.
"""

import json
import re
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from prewrite.base.errors import EngineError
from prewrite.base.files import opened

_EDGE = 4  # tokens of the prompt that what follows is decoded with


class PlainTokenizer:
    """The tokenizer that `backend` describes, the text of a `tokenizer.json`. It neither cuts nor
    fills up, whatever that says.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self.encoder = _spelling(json.loads(backend))

    @cached_property
    def special(self) -> Tokenizer:
        """The same one for what is no text: it knows the added tokens by name."""
        return _whole(Tokenizer.from_str(self._backend))

    def encode(self, text: str, pair: str | None = None, whole: bool = False) -> Encoding:
        """A text, or two in a row. whole: with the tokens that the model wants around them."""
        return self.encoder.encode(text, pair, add_special_tokens=whole)

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Many texts, on all cores; without offsets."""
        found: list[Encoding] = self.encoder.encode_batch_fast(texts, add_special_tokens=False)
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; added ones are spelt out."""
        return str(self.special.decode(list(tokens), skip_special_tokens=False))

    def ids(self) -> dict[str, int]:
        """Every token by its name."""
        return dict(self.special.get_vocab(with_added_tokens=True))


def load_tokenizer(name: str) -> PlainTokenizer:
    """The tokenizer of a folder or Hugging Face id; EngineError when there is none."""
    refuse_missing(name)
    file = Path(name) / "tokenizer.json"
    try:
        if file.exists():
            with opened(file) as stream:
                return PlainTokenizer(stream.read().decode("utf-8"))
        if not Path(name).exists():
            return PlainTokenizer(Tokenizer.from_pretrained(name).to_str())
    except Exception as error:  # the library raises bare Exception for whatever is wrong
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(f"{name}: cannot load this tokenizer: {text}") from None
    raise EngineError(f"{name}: no tokenizer.json in this folder")


def continuation(tokenizer: PlainTokenizer, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """The text of `tokens` after `prompt`. SentencePiece drops the space that begins a text, so
    they are decoded with the end of the prompt. Special tokens are spelt out: they were sampled.
    """
    edge = list(prompt[-_EDGE:])
    before, after = tokenizer.decode(edge), tokenizer.decode([*edge, *tokens])
    return after[len(before) :] if after.startswith(before) else tokenizer.decode(tokens)


def begin_of(bos: int | None, eos: int | Sequence[int] | None) -> int | None:
    """What a document starts with: BOS, and for a model without one its (first) EOS."""
    if bos is not None:
        return bos
    return eos[0] if isinstance(eos, Sequence) and eos else eos if isinstance(eos, int) else None


def refuse_missing(name: str) -> None:
    """Refuse a path of nothing here and now: as an id the hub takes a minute of retries for it."""
    path = Path(name)
    beside = path.parent != Path() and path.parent.is_dir()
    if not path.exists() and (beside or name.startswith((".", "/", "~"))):
        raise EngineError(f"{name}: no such folder")


def _spelling(state: dict[str, Any]) -> Tokenizer:
    """A tokenizer that spells added tokens out. In its vocabulary they have names that no text has,
    so that no word is one of them, and the ids are as before.
    """
    added = [t for t in state["added_tokens"] if re.search(r"[^\w\s▁]", t["content"])]
    unknown = _unknown(state["model"])
    names = {
        token["content"]: uuid.uuid4().hex
        for token in added
        if len(token["content"]) > 1 and token["content"] != unknown
    }
    for token in added:
        token["special"] = True
        token["content"] = names.get(token["content"], token["content"])
    _rename(state["model"], names)
    tokenizer = _whole(Tokenizer.from_str(json.dumps(state)))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _unknown(model: dict[str, Any]) -> str | None:
    """What stands for what cannot be spelt; a text that holds its name gains nothing by it."""
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(word, word): number for word, number in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(word, word), score] for word, score in model["vocab"]]
    if model.get("merges"):
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [
            pair for pair in pairs if names.keys().isdisjoint([*pair, "".join(pair)])
        ]


def _whole(tokenizer: Tokenizer) -> Tokenizer:
    """Nothing is cut, filled up or drawn at random, whatever its file says."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer
