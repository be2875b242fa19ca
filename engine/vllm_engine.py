"""vLLM in this process, fed continuously.

One thread owns the model. It takes whatever requests have come, does one engine step, hands back
whatever finished, and goes on: a request never waits for another one's answer, and the batch is
full as long as callers keep more requests open than `concurrency`. Cost over vLLM's own offline
`generate`: see `benchmarks/throughput.py`.
"""

import asyncio
import itertools
import logging
import math
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prewrite.base.errors import EngineDied, EngineError
from prewrite.engine.config import VllmConfig
from prewrite.engine.digest import model_digest
from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.orphans import guard
from prewrite.engine.types import Completion, FinishReason, Request, Sample


@dataclass
class _Call:
    """Work on the model itself, while it answers nobody."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass
class _Ticket:
    """scored: how many of the last tokens of the prompt are asked about; then nothing is sampled.
    fresh: whether the prefix cache must not be read.
    """

    token_ids: list[int]
    future: asyncio.Future[Completion]
    request: Request | None = None
    scored: int = 0
    fresh: bool = False


class VllmEngine:
    """A vLLM model; raises EngineError in one sentence when it cannot be loaded."""

    primes = True

    def __init__(self, config: VllmConfig) -> None:
        self.config, self.concurrency = config, config.concurrency
        self._encoder = PromptEncoder(
            config.model, config.template_args, config.revision, config.trust_remote_code
        )
        self._inbox: queue.SimpleQueue[_Ticket | _Call | None] = queue.SimpleQueue()
        self._open: dict[str, _Ticket] = {}
        self._failure: EngineError | None = None
        self._ready = threading.Event()
        self.llm: Any = None
        self._thread = threading.Thread(target=self._serve, name="vllm", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure

    async def complete(self, request: Request) -> Completion:
        """See `engine.types.Engine.complete`."""
        return await self._answered(self.token_ids(request), request=request)

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        """See `engine.types.Engine.likelihood`. The context is read from the prefix cache."""
        before, after = self._encoder.plain(context, text)
        if not before or not after:
            return Completion(error="a text without tokens, or without one before it")
        return await self._answered(before + after, scored=len(after))

    async def token_likelihood(self, token_ids: Sequence[int], before: int = 1) -> Completion:
        """As `likelihood`, of all given tokens but the first `before`."""
        return await self._answered(list(token_ids), scored=len(token_ids) - before)

    async def reload(self, folder: str) -> None:
        """Take over the safetensors weights in `folder`, which the model's own may be, and forget
        the prefix cache. EngineError where that fails, or where a request is open.
        """

        def work() -> None:
            # An engine made with `load_format: dummy` would not look into the folder.
            settings = {"load_config": {"load_format": "safetensors"}}
            self.llm.collective_rpc("update_config", args=(settings,))
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            if on_cpu():
                self.llm.apply_model(_pack_tied)
            self.llm.reset_prefix_cache()

        if not any(Path(folder).glob("*.safetensors")):  # found out later, it is half done
            raise EngineError(f"{folder}: no safetensors weights there")
        await self._called(work)

    async def sleep(self) -> None:
        """Free the GPU's memory; the weights wait in the machine's. Needs `enable_sleep_mode` among
        `args`; nothing happens on a CPU. EngineError where a request is open.
        """
        if not on_cpu():
            await self._called(lambda: self.llm.sleep(level=1))

    async def wake(self) -> None:
        """Be ready again after `sleep`."""
        if not on_cpu():
            await self._called(lambda: self.llm.wake_up())

    async def _answered(self, token_ids: list[int], **ask: Any) -> Completion:
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._put(_Ticket(token_ids, future, **ask))
        return await future

    async def _called(self, function: Callable[[], Any]) -> None:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(_Call(function, future))
        await future

    def _put(self, work: _Ticket | _Call) -> None:
        if self._failure:
            raise self._failure
        self._inbox.put(work)
        if self._failure:  # the thread may have ended before it could see this
            raise self._failure

    def token_ids(self, request: Request) -> list[int]:
        """The prompt as the model gets it."""
        return self._encoder.encode(request.prompt)

    def plain(
        self, context: Sequence[str], text: str, room: int, begins: bool
    ) -> tuple[list[int], list[int]]:
        """See `engine.encoding.PromptEncoder.plain`."""
        return self._encoder.plain(context, text, room, begins)

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """See `engine.encoding.continuation`."""
        return self._encoder.continuation(prompt, tokens)

    @property
    def max_model_len(self) -> int:
        """The longest prompt and answer, in tokens."""
        return int(self.llm.llm_engine.model_config.max_model_len)

    @property
    def _head(self) -> str:
        return str(self.llm.llm_engine.model_config.head_dtype).removeprefix("torch.")

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """See `engine.types.Engine.check_verdicts`."""
        self._encoder.verdict_ids(verdicts)

    def versions(self) -> dict[str, str]:
        """vLLM, torch, the digest of the model, and the type in which its head computes."""
        import torch
        import vllm

        return {
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            f"model {self.config.model}": model_digest(self.config.model, self.config.revision),
            f"head of {self.config.model}": self._head,
        }

    def close(self) -> None:
        """Stop the thread and free the model; whoever still waits gets an EngineError."""
        self._inbox.put(None)
        self._thread.join()
        if self.llm:
            # On a GPU this ends the engine's process, and all its memory is free when it returns.
            self.llm.llm_engine.engine_core.shutdown()
        self.llm = None

    def _serve(self) -> None:
        try:
            self.llm = load(arguments(self.config))
        except Exception as error:
            self._failure = EngineError(load_sentence(self.config, error))
            return
        finally:
            self._ready.set()
        try:
            self._loop()
            self._failure = EngineError(f"the engine of {self.config.model} is closed")
        except BaseException as error:
            self._failure = EngineDied(f"vLLM died on {self.config.model}: {first_line(error)}")
        self._fail_all(self._failure)

    def _loop(self) -> None:
        engine, numbers = self.llm.llm_engine, itertools.count()
        while True:
            # Wait only when there is nothing to compute.
            if not engine.has_unfinished_requests() and not self._take(self._inbox.get(), numbers):
                return
            while not self._inbox.empty():
                if not self._take(self._inbox.get(), numbers):
                    return
            with turn():
                outputs = engine.step()
            self._hand_back(outputs)

    def _take(self, ticket: _Ticket | _Call | None, numbers: "itertools.count[int]") -> bool:
        """Give a ticket to vLLM, or do what is called for; False when it was the sign to stop."""
        from vllm.exceptions import VLLMClientError

        if ticket is None:
            return False
        if isinstance(ticket, _Call):
            self._do(ticket)
            return True
        name = str(next(numbers))
        try:
            parameters = (
                self.parameters(ticket.request) if ticket.request else _scoring(ticket.fresh)
            )
            prompt = {"prompt_token_ids": ticket.token_ids}
            self.llm.llm_engine.add_request(name, prompt, parameters)
            self._open[name] = ticket
        except (VLLMClientError, ValueError, EngineError) as error:
            # vLLM refuses one request (a prompt longer than the model takes): that one only.
            answer = Completion(error=first_line(error), prompt_tokens=len(ticket.token_ids))
            _resolve([(ticket, answer)])
        return True

    def _do(self, call: _Call) -> None:
        loop, failure = call.future.get_loop(), None
        if self._open:
            failure = EngineError(f"the engine of {self.config.model} has open requests")
        else:
            try:
                with turn():
                    call.function()
            except Exception as error:
                failure = EngineError(f"vLLM on {self.config.model}: {first_line(error)}")
        if failure:
            _call(loop, _raise_in, call.future, failure)
        else:
            _call(loop, _set_all, [(call, None)])

    def parameters(self, request: Request) -> Any:
        """The SamplingParams that vLLM gets for a request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ask = request.sampling
        verdicts = self._encoder.verdict_ids(ask.verdicts)
        return SamplingParams(
            n=ask.n,
            max_tokens=ask.max_tokens,
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            stop=list(ask.stop) or None,
            stop_token_ids=None if ask.end is None else [ask.end],
            ignore_eos=ask.end is not None,
            logprobs=0 if ask.logprobs and not verdicts else None,
            logprob_token_ids=sorted(set(verdicts.values())) or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _hand_back(self, outputs: list[Any]) -> None:
        done = []
        for output in outputs:
            if output.finished:
                ticket = self._open.pop(output.request_id)
                if self._cached_too_far(ticket, output):
                    ticket.fresh = True
                    self._inbox.put(ticket)
                else:
                    done.append((ticket, self._completion(ticket, output)))
        _resolve(done)

    def _cached_too_far(self, ticket: _Ticket, output: Any) -> bool:
        """Whether tokens asked about came out of the cache: it has no probabilities. The first one
        is told where the token before it is computed.
        """
        before = len(ticket.token_ids) - ticket.scored
        return bool(ticket.scored) and (output.num_cached_tokens or 0) >= before

    def _completion(self, ticket: _Ticket, output: Any) -> Completion:
        if ticket.request:
            verdicts = self._encoder.verdict_ids(ticket.request.sampling.verdicts)
            samples = tuple(_sample(item, verdicts) for item in output.outputs)
        else:
            samples = (_scores(ticket, output),)
        return Completion(
            samples=samples,
            prompt_tokens=len(ticket.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            output_tokens=sum(len(item.token_ids) for item in output.outputs),
        )

    def _fail_all(self, failure: EngineError) -> None:
        tickets: list[_Ticket | _Call] = [*self._open.values()]
        while not self._inbox.empty():
            if (ticket := self._inbox.get()) is not None:
                tickets.append(ticket)
        for ticket in tickets:
            _call(ticket.future.get_loop(), _raise_in, ticket.future, failure)


def _pack_tied(model: Any) -> None:
    """On a CPU layers compute with a packed copy of their weights. A reload packs those that it
    read, so not an output layer that is the embedding: it would stay as it was (vLLM 0.32.0).
    """
    if model.config.tie_word_embeddings:
        model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def _scoring(fresh: bool) -> Any:
    """VLLM must generate one token. By itself it keeps away from its cache when it is asked for
    the probabilities of a prompt; here only those after the context count.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        prompt_logprobs=0,
        skip_reading_prefix_cache=fresh,
        detokenize=False,  # rows that the cache served hold no token
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _scores(ticket: _Ticket, output: Any) -> Sample:
    """The last tokens of the prompt: where a cache was read, there are fewer rows than tokens."""
    tokens = tuple(ticket.token_ids[-ticket.scored :])
    rows = output.prompt_logprobs[-ticket.scored :]
    told = tuple(row[token].logprob for row, token in zip(rows, tokens, strict=True))
    return Sample("", "stop", tokens, told)


def _sample(item: Any, verdicts: dict[str, int]) -> Sample:
    steps = item.logprobs or []
    chosen = tuple(step[token].logprob for step, token in zip(steps, item.token_ids, strict=False))
    first = steps[0] if steps else {}
    shares = {
        verdict: math.exp(first[token].logprob) if token in first else 0.0
        for verdict, token in verdicts.items()
    }
    reason: FinishReason = "length" if item.finish_reason == "length" else "stop"
    return Sample(item.text, reason, tuple(item.token_ids), chosen, shares)


def _resolve(done: list[tuple[_Ticket, Completion]]) -> None:
    """Set results in the loops that wait for them: one wake-up a loop and step."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket, Completion]]] = {}
    for ticket, answer in done:
        loops.setdefault(ticket.future.get_loop(), []).append((ticket, answer))
    for loop, pairs in loops.items():
        _call(loop, _set_all, pairs)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call in `loop`; one that has closed meanwhile has nobody waiting."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def _set_all(pairs: Sequence[tuple[_Ticket | _Call, Any]]) -> None:
    for ticket, answer in pairs:
        future: asyncio.Future[Any] = ticket.future
        if not future.done():
            future.set_result(answer)


def _raise_in(future: asyncio.Future[Any], failure: EngineError) -> None:
    if not future.done():
        future.set_exception(failure)


def arguments(config: VllmConfig) -> dict[str, Any]:
    """Those of vllm.LLM for `config`, with settings that hold on this machine."""
    found: dict[str, Any] = {
        "model": config.model,
        "revision": config.revision,
        "dtype": config.dtype,
        "max_num_seqs": config.concurrency,
        "tensor_parallel_size": config.tensor_parallel,
        "trust_remote_code": config.trust_remote_code,
        "enable_prefix_caching": True,
        "use_tqdm_on_load": False,
    }
    if config.max_model_len:
        found["max_model_len"] = config.max_model_len
    if on_cpu():
        found |= _cpu_arguments(config)
    return found | config.args


_turn = threading.Lock()


def turn() -> AbstractContextManager[Any]:
    """Held while vLLM loads or computes in this process: what it is about stands in globals of its
    modules, so of two models only one may be at work. In processes of their own both may.
    """
    return _turn if _in_process() else nullcontext()


def _in_process() -> bool:
    return os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"


def load(arguments: dict[str, Any]) -> Any:
    """vllm.LLM, quiet, and on a CPU in this process."""
    prepare(arguments)
    from vllm import LLM

    with turn():
        return LLM(**arguments)


def prepare(arguments: dict[str, Any]) -> None:
    """Set vLLM up for an LLM of `arguments`, before its first import in this process."""
    if arguments.get("nnodes", 1) == 1 and arguments.get("distributed_executor_backend") != "ray":
        # All its processes are here; gloo would listen where the machine's name leads.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # "Triton not available"
    warnings.filterwarnings("ignore", category=FutureWarning, module="vllm")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if on_cpu():
        _prepare_cpu()
    if _in_process():
        _keep_groups()
    else:
        guard()


def on_cpu() -> bool:
    """Whether no GPU answers."""
    import torch

    return not torch.cuda.is_available()


def _prepare_cpu() -> None:
    # One process and one thread pool: two cores are too few for an engine process of its own, and
    # the default binding would keep one of them free.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")


def _keep_groups() -> None:
    """Let the groups of torch.distributed stay until this process ends. A model that is closed, or
    that the garbage collector finds long after, would take them along, and they are those of every
    other model here, too (vLLM 0.32.0).
    """
    from vllm.distributed import parallel_state

    parallel_state.destroy_model_parallel = lambda: None
    parallel_state.destroy_distributed_environment = lambda: None


def _cpu_arguments(config: VllmConfig) -> dict[str, Any]:
    # Chunked prefill splits a seeded prompt on CPU, which kills the engine (vLLM 0.32.0); without
    # it a batch must take the longest prompt. The cache would otherwise be a share of the memory.
    length = config.max_model_len or 4096
    return {
        "distributed_executor_backend": "uni",
        "enforce_eager": True,
        "max_model_len": length,
        # `auto` would be bfloat16, whose AMX instructions some virtual machines advertise and trap.
        "dtype": "float32" if config.dtype == "auto" else config.dtype,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(length, 4096),
        "kv_cache_memory_bytes": 1 << 30,
        "block_size": 32,
    }


def load_sentence(config: VllmConfig, error: Exception) -> str:
    """Why a model could not be loaded; a quantised head can have no type of its own."""
    head = "; accepted: args.hf_overrides.head_dtype: model" if "head_dtype" in str(error) else ""
    return f"cannot load the model {config.model} with vLLM: {first_line(error)}{head}"


def first_line(error: BaseException) -> str:
    """What an error says, as far as a person wants to know."""
    text = str(error)
    if isinstance(error, ValidationError):  # its first line is a count
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        text = f"{key}: {first['msg']}" if key else first["msg"].removeprefix("Value error, ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
