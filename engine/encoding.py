"""Prompts to token ids, safely and once.

Corpus text is hostile: a document may hold `<|im_end|>` or any other special token of any chat
template. So the template is rendered around a placeholder, its own text is tokenised with special
tokens, and every piece of a prompt without: there `<|im_end|>` becomes the plain characters. That
holds for every added token with a sign in it, whether the vocabulary marks it as special
(`<|im_end|>`) or not (`<think>`, DeepSeek's `<｜User｜>`); added words and runs of spaces are text.
Pieces are tokenised one by one and remembered, which is what makes a context of 15 chunks cost one
new chunk. Where a tokenizer's pieces do not join to the whole (SentencePiece puts a space before
each), the text is tokenised as a whole instead.
"""

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from base.errors import EngineError
from engine.types import Prompt

_EDGE = 4  # tokens of the prompt that what follows is decoded with


class PromptEncoder:
    """Renders prompts with the chat template of the tokenizer at `name` (folder or id)."""

    def __init__(
        self,
        name: str,
        template_args: dict[str, Any],
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        # A slow import (2 s) that commands without an engine must not pay.
        from transformers import AutoTokenizer

        _refuse_missing(name)
        try:
            auto = AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError) as error:
            text = str(error).splitlines()[0]
            raise EngineError(f"{name}: no usable tokenizer there: {text}") from None
        backend = auto.backend_tokenizer.to_str()
        self._special = Tokenizer.from_str(backend)
        self._plain, self._reserved = _spelling(backend)
        self._reserved -= {auto.unk_token_id}  # what cannot be spelt is no attack
        self._head, self._tail = self._frame(auto, template_args)
        marked, bare = (self._special.encode("x", add_special_tokens=s).ids for s in (True, False))
        self._begin = marked[: marked.index(bare[0])]
        edge = auto.eos_token_id if auto.bos_token_id is None else auto.bos_token_id
        self._bare = [] if edge is None else [edge]
        self._remember = lru_cache(maxsize=8192)(self._encode)
        self._joins = self._pieces_join()

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of the whole prompt, chat template included; those it has are left alone."""
        if prompt.tokens:
            return list(prompt.tokens)
        ids = list(self._head)
        pieces = prompt.user if self._joins else ("".join(prompt.user),)
        for piece in pieces:
            ids += self._remember(piece)
        ids += self._tail
        if prompt.answer:
            ids += self._encode(prompt.answer)
        return ids

    def plain(
        self, context: Sequence[str], text: str, room: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Token ids of a context and of the text that continues it, no chat template around them.
        They begin as the tokenizer begins a text; where it adds nothing and there is no context,
        with the token that begins (else ends) texts, so that the first one has a probability, too.
        room: tokens that both may have; the context loses its first ones.
        """
        if self._joins:
            ids = [token for piece in context for token in self._remember(piece)]
            after = list(self._encode(text))
        else:
            ids = list(self._encode("".join(context)))
            after = list(self._encode("".join([*context, text])))[len(ids) :]
        if room is not None:
            ids = ids[max(0, len(self._begin) + len(ids) + len(after) - room) :]
        return (self._begin + ids) or self._bare, after

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The text of `tokens` after `prompt`; see the function of that name."""
        return continuation(self._special, prompt, tokens)

    def verdict_ids(self, verdicts: Iterable[str]) -> dict[str, int]:
        """The single token of each verdict; EngineError when one is several tokens."""
        found = {}
        for verdict in verdicts:
            ids = self._remember(verdict)
            if len(ids) != 1:
                raise EngineError(
                    f"verdict '{verdict}' is {len(ids)} tokens for this model; "
                    "use single letters or digits"
                )
            found[verdict] = ids[0]
        return found

    def _encode(self, text: str) -> tuple[int, ...]:
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self._reserved.isdisjoint(ids):
            return tuple(ids)
        # Unigram vocabularies hold `</s>` as a word like any other; so it is taken apart.
        parts = self._plain.encode_batch(re.split(r"(?<=\W)", text), add_special_tokens=False)
        return tuple(number for part in parts for number in part.ids)

    def _frame(self, auto: Any, arguments: dict[str, Any]) -> tuple[list[int], list[int]]:
        """Token ids before and after the user's text."""
        mark = f"user-{uuid.uuid4().hex}"
        if auto.chat_template is None:
            rendered = f"{auto.bos_token or ''}{mark}\n"
        else:
            turn = [{"role": "user", "content": mark}]
            rendered = auto.apply_chat_template(
                turn, tokenize=False, add_generation_prompt=True, **arguments
            )
        head, _, tail = rendered.partition(mark)
        ids = [self._special.encode(t, add_special_tokens=False).ids for t in (head, tail)]
        return ids[0], ids[1]

    def _pieces_join(self) -> bool:
        ids = [*self._encode("two pie"), *self._encode("ces\n"), *self._encode(" joined")]
        return str(self._plain.decode(ids)) == "two pieces\n joined"


def _spelling(backend: str) -> tuple[Tokenizer, set[int]]:
    """A tokenizer that spells added tokens out, and the ids that it must not give."""
    state = json.loads(backend)
    added = [t for t in state["added_tokens"] if re.search(r"[^\w\s▁]", t["content"])]
    for token in added:
        token["special"] = True
    plain = _as_plain_text(Tokenizer.from_str(json.dumps(state)))
    return plain, {token["id"] for token in added if len(token["content"]) > 1}


def continuation(tokenizer: Tokenizer, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """The text of `tokens` after `prompt`. SentencePiece drops the space that begins a text, so
    they are decoded with the end of the prompt. Special tokens are spelt out: they were sampled.
    """
    edge = list(prompt[-_EDGE:])
    before, whole = (
        tokenizer.decode(ids, skip_special_tokens=False) for ids in (edge, [*edge, *tokens])
    )
    joins = whole.startswith(before)
    return whole[len(before) :] if joins else tokenizer.decode(tokens, skip_special_tokens=False)


def load_tokenizer(name: str) -> Tokenizer:
    """The bare tokenizer of a folder or Hugging Face id; EngineError when there is none.

    Special tokens in a text are plain characters to it, as they are in a prompt.
    """
    _refuse_missing(name)
    file = Path(name) / "tokenizer.json"
    try:
        if file.exists():
            tokenizer = Tokenizer.from_file(str(file))
        elif Path(name).exists():
            raise EngineError(f"{name}: no tokenizer.json in this folder")
        else:
            tokenizer = Tokenizer.from_pretrained(name)
    except EngineError:
        raise
    except Exception as error:  # the library raises bare Exception for whatever is wrong
        text = str(error).splitlines()[0]
        raise EngineError(f"{name}: cannot load this tokenizer: {text}") from None
    return _as_plain_text(tokenizer)


def _as_plain_text(tokenizer: Tokenizer) -> Tokenizer:
    """Special tokens are characters, and nothing is cut, filled up or drawn at random, whatever its
    file says.
    """
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer


def _refuse_missing(name: str) -> None:
    """Refuse a path of nothing here and now: as an id the hub takes a minute of retries for it."""
    path = Path(name)
    beside = path.parent != Path() and path.parent.is_dir()
    if not path.exists() and (beside or name.startswith((".", "/", "~"))):
        raise EngineError(f"{name}: no such folder")
