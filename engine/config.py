"""Engines as configuration: `engines: {name: {kind: vllm | endpoint, …}}`."""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from prewrite.base.config import Location, Section, refuse
from prewrite.base.secret import is_named_secret, is_variable

_SPEED = {
    "block_size",
    "enable_chunked_prefill",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_num_batched_tokens",
}
"""Arguments of vllm.LLM that change how fast it answers and not what; a resume may change them."""


class VllmConfig(Section):
    """vLLM in this process."""

    kind: Literal["vllm"] = Field(description="vLLM in this process")
    model: Location = Field(description="a Hugging Face id, or a folder")
    revision: str | None = Field(None, description="commit or tag of a Hugging Face id")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="type of the weights; `auto` is float32 on a CPU"
    )
    max_model_len: int | None = Field(
        None,
        ge=1,
        description="longest prompt with its answer, in tokens; null: the model's own, or 4096 on "
        "a CPU",
    )
    concurrency: int = Field(256, ge=1, description="sequences that run at a time (`max_num_seqs`)")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that one model is split over")
    trust_remote_code: bool = Field(False, description="run Python code that the model ships")
    template_args: dict[str, Any] = Field(
        {}, description="variables for the chat template, such as `enable_thinking`"
    )
    args: dict[str, Any] = Field({}, description="any further argument of `vllm.LLM`")

    @field_validator("args")
    @classmethod
    def _overrides_by_name(cls, args: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(found := args.get("hf_overrides", {}), dict):
            raise refuse(f"hf_overrides: found {found!r:.60}; accepted: a mapping")
        return args

    @property
    def head(self) -> str | None:
        """The type in which the head, the last layer, computes; None: that of the model."""
        own = "float32" if self.dtype == "float32" else None
        found: str | None = self.args.get("hf_overrides", {}).get("head_dtype", own)
        return found

    def as_judge(self) -> "VllmConfig":
        """With the head in float32, unless the recipe says otherwise: in 16 bits probabilities that
        lie near each other become equal.
        """
        if self.head:
            return self
        overrides = {**self.args.get("hf_overrides", {}), "head_dtype": "float32"}
        return self.model_copy(update={"args": {**self.args, "hf_overrides": overrides}})

    def identity(self) -> dict[str, Any]:
        """What answers depend on; the rest is speed."""
        names = {"kind", "model", "revision", "dtype", "max_model_len", "template_args"}
        args = {key: value for key, value in self.args.items() if key not in _SPEED}
        return self.model_dump(mode="json", include=names) | {"args": args}


_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_OF_THE_CLIENT = {"host", "connection", "content-type", "content-length", "transfer-encoding"}
_OF_A_REQUEST = {
    **dict.fromkeys(("model", "template_args", "max_completion_tokens"), "the engine's own keys"),
    "chat_template_kwargs": "template_args",
    **dict.fromkeys(
        ("temperature", "top_p", "seed", "n", "max_tokens"), "the sections of sampling"
    ),
    **dict.fromkeys(("continue_final_message", "add_generation_prompt"), "primed"),
    **dict.fromkeys(
        ("messages", "prompt", "stop", "stop_token_ids", "ignore_eos", "stream", "stream_options")
        + ("logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids"),
        "other keys",
    ),
}
"""What requests hold already, and where a recipe says it."""


class FromEnvironment(Section):
    """The name of an environment variable, in place of its value."""

    env: str = Field(description="environment variable that holds the value of the header")


class EndpointConfig(Section):
    """Any OpenAI-compatible endpoint, at one or several base URLs."""

    kind: Literal["endpoint"] = Field(description="an OpenAI-compatible endpoint")
    urls: list[str] = Field(
        min_length=1, description="base URLs that end in `/v1`, used in turn; no password in them"
    )
    model: str = Field(description="the model's name at the endpoint")
    api: Literal["chat", "completions"] = Field(
        "chat",
        description="send messages, or token ids made here; `completions` needs `tokenizer` and "
        "is the exact one for vLLM",
    )
    tokenizer: Location | None = Field(
        None, description="a Hugging Face id, or a folder; needed for `api: completions`"
    )
    api_key_env: str | None = Field(None, description="environment variable that holds the key")
    concurrency: int = Field(
        64, ge=1, description="requests open at a time, over all URLs of a worker"
    )
    timeout: float = Field(120, gt=0, description="seconds until a request counts as hung")
    retries: int = Field(6, ge=0, description="tries after the first, with growing waits")
    primed: bool = Field(
        True,
        description="the server continues a begun answer, as vLLM and SGLang do; hosted APIs do "
        "not",
    )
    template_args: dict[str, Any] = Field({}, description="variables for the chat template")
    headers: dict[str, FromEnvironment] = Field(
        {}, description="further HTTP headers: name → `{env: VARIABLE}`"
    )
    extra_body: dict[str, Any] = Field({}, description="further keys of every request's body")
    # A boolean: the limit itself is that of a pass, and servers know two names for it.
    max_completion_tokens: bool = Field(
        False,
        description="send the limit of an answer by this name instead of `max_tokens`; for `api: "
        "chat`",
    )

    @field_validator("headers", mode="before")
    @classmethod
    def _values_from_the_environment(cls, headers: Any) -> Any:
        """No value is quoted: it may be a key."""
        if isinstance(headers, dict):
            for name, value in headers.items():
                if not isinstance(name, str) or not _HEADER.fullmatch(name):
                    raise refuse(f"headers: found the name {name!r}; accepted: one such as X-Team")
                if name.lower() in _OF_THE_CLIENT:
                    raise refuse(f"headers.{name}: found what the client sets; accepted: others")
                variable = value.get("env") if isinstance(value, dict) and len(value) == 1 else None
                if not isinstance(variable, str) or not is_variable(variable):
                    raise refuse(
                        f"headers.{name}: found no name of an environment variable; accepted: "
                        "{env: VARIABLE}, for a recipe is stored with every set"
                    )
            if len({name.lower() for name in headers}) < len(headers):
                raise refuse(
                    "headers: found one twice; accepted: names that differ by more than case"
                )
        return headers

    @field_validator("extra_body")
    @classmethod
    def _further_keys(cls, body: dict[str, Any]) -> dict[str, Any]:
        for key in body:
            if key in _OF_A_REQUEST:
                raise refuse(
                    f"extra_body.{key}: found a key that Prewrite sets itself; accepted: "
                    f"{_OF_A_REQUEST[key]}"
                )
        for key, fault in _unsendable(body, "extra_body"):
            raise refuse(f"{key}: found {fault}")
        return body

    @field_validator("urls")
    @classmethod
    def _usable(cls, urls: list[str]) -> list[str]:
        for url in urls:
            try:
                parts = urlsplit(url)
                usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:  # brackets that do not close, a port that is no number
                usable = False
            if not usable:
                raise ValueError("base URLs such as http://127.0.0.1:8000/v1")
        return urls

    @model_validator(mode="after")
    def _tokens_need_a_tokenizer(self) -> "EndpointConfig":
        if self.api == "completions" and not self.tokenizer:
            raise refuse("tokenizer: required by api: completions; a Hugging Face folder or id")
        if self.api == "completions" and self.max_completion_tokens:
            raise refuse("max_completion_tokens: found true; accepted with api: chat")
        if self.api_key_env and "authorization" in map(str.lower, self.headers):
            raise refuse("api_key_env: found with headers.Authorization; accepted: one of the two")
        return self

    def as_judge(self) -> "EndpointConfig":
        """Itself: in what type the model behind it computes is not ours to choose."""
        return self

    def identity(self) -> dict[str, Any]:
        """What answers depend on; the rest is speed, or a secret. What is not set stands in no set
        that was made before there was such a key.
        """
        names = {"kind", "model", "api", "tokenizer", "primed", "template_args"}
        names |= {key for key in ("extra_body", "max_completion_tokens") if getattr(self, key)}
        return self.model_dump(mode="json", include=names)


def _unsendable(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and fault of all in `value` that is named like a secret, or that JSON does not have."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                yield key, f"the key {name!r}; accepted: texts as keys"
            elif is_named_secret(name):
                yield f"{key}.{name}", "the name of a secret; accepted: headers, by {env: VARIABLE}"
            else:
                yield from _unsendable(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unsendable(inner, f"{key}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, f"{value}; accepted: a finite number"
    elif not isinstance(value, str | int | float | None):
        yield key, f"a {type(value).__name__}; accepted: what JSON has (in YAML quote a date)"


EngineConfig = Annotated[VllmConfig | EndpointConfig, Field(discriminator="kind")]
