"""Engines as configuration: `engines: {name: {kind: vllm | endpoint, …}}`."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from base.config import Place, Section, refuse

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

    kind: Literal["vllm"]
    model: Place = Field(description="a Hugging Face folder or id")
    revision: str | None = Field(None, description="commit or tag of a Hugging Face id")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="weights")
    max_model_len: int | None = Field(None, ge=1, description="longest prompt + answer, tokens")
    concurrency: int = Field(256, ge=1, description="sequences that run at a time (max_num_seqs)")
    tensor_parallel: int = Field(1, ge=1, description="GPUs one model is split over")
    trust_remote_code: bool = Field(False, description="run Python code that the model ships")
    template_args: dict[str, Any] = Field({}, description="variables for the chat template")
    args: dict[str, Any] = Field({}, description="any further argument of vllm.LLM")

    def identity(self) -> dict[str, Any]:
        """What answers depend on; the rest is speed."""
        names = {"kind", "model", "revision", "dtype", "max_model_len", "template_args"}
        args = {key: value for key, value in self.args.items() if key not in _SPEED}
        return self.model_dump(mode="json", include=names) | {"args": args}


class EndpointConfig(Section):
    """Any OpenAI-compatible endpoint, at one or several base URLs."""

    kind: Literal["endpoint"]
    urls: list[str] = Field(min_length=1, description="base URLs (…/v1), used in turn")
    model: str = Field(description="the model's name at the endpoint")
    api: Literal["chat", "completions"] = Field(
        "chat", description="completions sends token ids (needs `tokenizer`): the safe one for vLLM"
    )
    tokenizer: Place | None = Field(None, description="folder or id; only for api: completions")
    api_key_env: str | None = Field(None, description="environment variable that holds the key")
    concurrency: int = Field(64, ge=1, description="requests open at a time, over all URLs")
    timeout: float = Field(120, gt=0, description="seconds until a request counts as hung")
    retries: int = Field(6, ge=0, description="tries after the first, with exponential back-off")
    primed: bool = Field(
        True, description="the server continues a begun answer (vLLM, SGLang); hosted APIs do not"
    )
    template_args: dict[str, Any] = Field({}, description="variables for the chat template")

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
        return self

    def identity(self) -> dict[str, Any]:
        """What answers depend on; the rest is speed."""
        names = {"kind", "model", "api", "tokenizer", "primed", "template_args"}
        return self.model_dump(mode="json", include=names)


EngineConfig = Annotated[VllmConfig | EndpointConfig, Field(discriminator="kind")]
