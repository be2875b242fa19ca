"""Classifiers, reward models and cross-encoders in vLLM: texts in, one number a class out.

Special tokens in a text are plain characters, as in a prompt. What the numbers are is the model's
own convention, by its configuration: probabilities of classes, or the number of a regression.
"""

from collections.abc import Sequence
from typing import Any

from prewrite.base.errors import EngineError
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.engine.vllm_engine import first_line, load, on_cpu, turn

PooledText = tuple[str, ...]
"""A text, or a pair of them: the context and what continues it."""


class PoolingModel:
    """The model at `name` (folder or id); EngineError when it cannot be loaded. It belongs to the
    thread that made it.
    """

    def __init__(self, name: str, revision: str | None, args: dict[str, Any]) -> None:
        self.name = name
        self._tokenizer = load_tokenizer(name)
        arguments = {"model": name, "revision": revision, "runner": "pooling"}
        try:
            self.llm = load(arguments | (_on_cpu() if on_cpu() else {}) | args)
        except Exception as error:
            text = f"cannot load the model {name} with vLLM: {first_line(error)}"
            raise EngineError(text) from None
        config = self.llm.llm_engine.model_config
        self._longest = int(config.max_model_len)
        self._typed = getattr(config.hf_config, "type_vocab_size", 0) > 1
        self.labels = [label for _, label in sorted(config.hf_config.id2label.items())]

    def __call__(self, texts: Sequence[PooledText]) -> list[list[float] | str]:
        """For each text a number a class, in the order of `labels`, or why there is none. Of a pair
        that is too long the beginning of the context is left out.
        """
        from vllm import PoolingParams

        encoded = [self._encode(text) for text in texts]
        whole = [one for one in encoded if isinstance(one, tuple)]
        found: list[list[float]] = []
        if whole:
            ids, pairs = zip(*whole, strict=True)
            try:
                with turn():
                    outputs = self.llm.classify(
                        [{"prompt_token_ids": one} for one in ids],
                        pooling_params=[PoolingParams(extra_kwargs=pair) for pair in pairs],
                        use_tqdm=False,
                    )
            except Exception as error:  # what a text can do wrong was found above
                raise EngineError(f"vLLM died on {self.name}: {first_line(error)}") from None
            found = [list(map(float, output.outputs.probs)) for output in outputs]
        told = iter(found)
        return [one if isinstance(one, str) else next(told) for one in encoded]

    def _encode(self, text: PooledText) -> tuple[list[int], dict[str, int] | None] | str:
        """Token ids, and for a pair where its second text begins."""
        encoding = self._tokenizer.encode(text[0], text[1] if len(text) == 2 else None, whole=True)
        over = len(encoding.ids) - self._longest
        if over > 0 and len(text) == 2:
            before = self._tokenizer.encode(text[0]).offsets
            start = before[over][0] if over < len(before) else len(text[0])
            encoding = self._tokenizer.encode(text[0][start:], text[1], whole=True)
        if len(encoding.ids) > self._longest:
            return f"a text of {len(encoding.ids)} tokens; the model takes {self._longest}"
        typed = self._typed and 1 in encoding.type_ids
        second = {"compressed_token_type_ids": encoding.type_ids.index(1)} if typed else None
        return encoding.ids, second


def _on_cpu() -> dict[str, Any]:
    """As for `kind: vllm`; see there."""
    return {
        "distributed_executor_backend": "uni",
        "enforce_eager": True,
        "dtype": "float32",
        "kv_cache_memory_bytes": 1 << 28,
        "use_tqdm_on_load": False,
    }
