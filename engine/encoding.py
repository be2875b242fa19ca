"""Prompts to token ids, safely and once.

Corpus text is hostile: a document may hold `<|im_end|>` or any other special token of any chat
template. So the template is rendered around a placeholder, its own text is tokenised with special
tokens, and every piece of a prompt without (`engine.tokenizer`). Pieces are tokenised one by one
and remembered, which is what makes a context of 15 chunks cost one new chunk. Where a tokenizer's
pieces do not join to the whole (SentencePiece puts a space before each), the text is tokenised as a
whole instead.
"""

import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from prewrite.base.errors import EngineError
from prewrite.base.fingerprint import fingerprint
from prewrite.base.secret import said
from prewrite.engine.tokenizer import PlainTokenizer, begin_of, continuation, refuse_missing
from prewrite.engine.types import Prompt


class PromptEncoder:
    """Renders prompts with the chat template of the tokenizer at `name` (folder or id).

    end: the token that ends an answer, which of a model's several is the one of its chats; None
    where the tokenizer names none. chats: whether there is a chat template. template: digest of it
    and of its variables.
    """

    def __init__(
        self,
        name: str,
        template_args: dict[str, Any],
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        # A slow import (2 s) that commands without an engine must not pay.
        from transformers import AutoTokenizer

        refuse_missing(name)
        try:
            auto = AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=trust_remote_code
            )
            self._plain = PlainTokenizer(auto.backend_tokenizer.to_str())
        except Exception as error:  # the library raises anything for a folder that is wrong
            raise EngineError(f"{name}: no usable tokenizer there: {_words(error)}") from None
        self.end: int | None = auto.eos_token_id
        self.chats = auto.chat_template is not None
        self.template = fingerprint([auto.chat_template, template_args])
        self._special = self._plain.special
        self._frame_of = lru_cache(partial(self._frame, auto, name, template_args))
        self._frame_of(with_system=False)
        marked, bare = (self._special.encode("x", add_special_tokens=s).ids for s in (True, False))
        known = marked[: marked.index(bare[0])] if bare and bare[0] in marked else []
        self._begin = known or _begin(auto, name, revision)
        self._remember = lru_cache(maxsize=8192)(self._encode)
        self._joins = self._pieces_join()

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of the whole prompt, chat template included; those it has are left alone."""
        if prompt.tokens:
            return list(prompt.tokens)
        *heads, tail = self._frame_of(with_system=bool(prompt.system))
        ids = list(heads[0])
        if prompt.system:
            ids += [*self._remember(prompt.system), *heads[1]]
        pieces = prompt.user if self._joins else ("".join(prompt.user),)
        for piece in pieces:
            ids += self._remember(piece)
        ids += tail
        if prompt.answer:
            ids += self._encode(prompt.answer)
        return ids

    def words(self, text: str) -> tuple[int, ...]:
        """Token ids of a text alone; no piece of it is read as a special token."""
        return self._encode(text)

    def plain(
        self, context: Sequence[str], text: str, room: int | None = None, begins: bool = True
    ) -> tuple[list[int], list[int]]:
        """Token ids of a context and of the text that continues it, no chat template around them.
        They begin as the tokenizer begins a text; where it adds nothing, with the token that begins
        (else ends) texts, as the trainer's documents do, so the first one has a probability, too.
        room: tokens that both may have; the context loses its first ones, the begin among them.
        begins: whether the context begins its document. One from mid-document has no such token, as
        in training.
        """
        if self._joins:
            ids = [token for piece in context for token in self._remember(piece)]
            after = list(self._encode(text))
        else:
            ids = list(self._encode("".join(context)))
            after = list(self._encode("".join([*context, text])))[len(ids) :]
        before = self._begin + ids if begins else ids
        if room is not None:
            before = before[max(0, len(before) + len(after) - room) :]
        return before, after

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The text of `tokens` after `prompt`; see the function of that name."""
        return continuation(self._plain, prompt, tokens)

    def verdict_ids(self, verdicts: Iterable[str]) -> dict[str, int]:
        """The single token of each verdict; EngineError when one is several tokens."""
        found = {}
        for verdict in verdicts:
            ids = self._remember(verdict)
            if len(ids) != 1:
                raise EngineError(
                    f"verdict '{verdict}' is {len(ids)} tokens for this model; "
                    "use letters, digits or words of one token"
                )
            found[verdict] = ids[0]
        return found

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._plain.encode(text).ids)

    def _frame(
        self, auto: Any, name: str, arguments: dict[str, Any], with_system: bool
    ) -> list[list[int]]:
        """Token ids before the system message, where there is one, before the user's text, and
        after it; EngineError where a template has no one place for either.
        """
        texts = {"system": "the system message"} if with_system else {}
        texts |= {"user": "the user's text"}
        turns = [{"role": role, "content": f"{role}-{uuid.uuid4().hex}"} for role in texts]
        if auto.chat_template is None:
            rendered = (auto.bos_token or "") + "".join(f"{turn['content']}\n" for turn in turns)
        else:
            try:
                rendered = auto.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True, **arguments
                )
            except Exception as error:  # a template may fail in any way
                raise EngineError(f"{name}: the chat template failed: {_words(error)}") from None
        parts = list[str]()
        for turn in turns:
            if (found := rendered.count(turn["content"])) != 1:
                raise EngineError(
                    f"{name}: the chat template: found {texts[turn['role']]} {found} times in a "
                    "prompt; accepted: once, as it is"
                )
            before, _, rendered = rendered.partition(turn["content"])
            parts.append(before)
        return [
            self._special.encode(part, add_special_tokens=False).ids for part in (*parts, rendered)
        ]

    def _pieces_join(self) -> bool:
        ids = [*self._encode("two pie"), *self._encode("ces\n"), *self._encode(" joined")]
        return str(self._plain.decode(ids)) == "two pieces\n joined"


def _begin(auto: Any, name: str, revision: str | None) -> list[int]:
    """The token before a text that has none before it: what the model's configuration says, which
    is what a trainer uses, else what the tokenizer does.
    """
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(name, revision=revision)
        found = begin_of(config.get("bos_token_id"), config.get("eos_token_id"))
    except OSError:  # a folder that holds a tokenizer and nothing else
        found = None
    except Exception as error:  # as above
        raise EngineError(f"{name}: config.json cannot be used: {_words(error)}") from None
    if found is None:
        found = begin_of(auto.bos_token_id, auto.eos_token_id)
    if found is not None and not (type(found) is int and 0 <= found < len(auto)):
        raise EngineError(
            f"{name}: config.json: found the token {said(str(found), 40)} at the begin of a text; "
            f"accepted: 0 to {len(auto) - 1}"
        )
    return [] if found is None else [found]


def _words(error: Exception) -> str:
    return said(str(error), 200) or type(error).__name__
