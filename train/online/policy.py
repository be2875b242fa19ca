"""The policy in vLLM: it takes over weights, proves that it has them, and samples.

A rollout comes from the model's whole distribution, unless the recipe has another temperature or
top_p, and keeps the tokens that were sampled, the end of text included, and the model's own
log-probabilities of them (those of temperature 1): what the trainer learns from is what was
sampled, never a text that was tokenised again. Costs: the engine starts with
random weights, for a `WeightSync` always comes first.
"""

import time
from statistics import fmean

from prewrite.base.errors import EngineError
from prewrite.engine.config import VllmConfig
from prewrite.engine.tokenizer import PlainTokenizer, continuation, load_tokenizer
from prewrite.engine.types import Completion, Prompt, Request, Sample, Sampling
from prewrite.engine.vllm_engine import VllmEngine, on_cpu
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.messages import Rollout, RolloutPrompt, WeightsSynced, WeightSync


class Policy:
    """The model that is trained, as it was at `version`; EngineError when it cannot be loaded.

    end: the token that ends a text; no other does.
    """

    def __init__(self, engine: VllmConfig, config: RolloutsConfig, end: int) -> None:
        self.version = -1
        self._config, self._end = config, end
        self._tokenizer = load_tokenizer(engine.model)
        args = engine.args | {"load_format": "dummy"}
        if config.sleep and not on_cpu():
            args["enable_sleep_mode"] = True
        self._engine = VllmEngine(engine.model_copy(update={"args": args}))
        self._sleeps = False

    async def sync(self, sync: WeightSync) -> WeightsSynced:
        """Load weights and prove them; EngineError where they are not newer than those that are
        loaded, cannot be loaded, or say something else than the trainer does.
        """
        if sync.version <= self.version:
            raise EngineError(
                f"weights out of order: found version {sync.version}; accepted: later than "
                f"{self.version}, which the engine has"
            )
        begun = time.monotonic()
        await self._wake()
        await self._engine.reload(sync.folder)
        told = await self._engine.token_likelihood(sync.tokens)
        if told.error:
            raise EngineError(
                f"the weights of version {sync.version} cannot be proved: {told.error}"
            )
        pairs = zip(told.samples[0].logprobs, sync.logprobs, strict=True)
        difference = fmean(abs(ours - theirs) for ours, theirs in pairs)
        if not difference <= self._config.tolerance:  # NaN is no proof
            raise EngineError(
                f"the engine does not have the weights of version {sync.version}: its "
                f"log-probabilities differ from the trainer's by {difference:.3g} nats on average; "
                f"accepted (train.rollouts.tolerance): {self._config.tolerance:g}"
            )
        self.version = sync.version
        return WeightsSynced(sync.version, difference, time.monotonic() - begun)

    async def sample(
        self, prompt: RolloutPrompt, rollouts: int
    ) -> tuple[tuple[Rollout, ...], Completion]:
        """The rollouts of a prompt, none where the engine could not, and what it said."""
        await self._wake()
        return await sampled(
            self._engine, self._tokenizer, self._config, self._end, prompt, rollouts
        )

    async def rest(self) -> None:
        """Nothing will be sampled for a while: by configuration the engine frees its memory."""
        if self._config.sleep:
            await self._engine.sleep()
            self._sleeps = True

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    async def _wake(self) -> None:
        if self._sleeps:
            self._sleeps = False
            await self._engine.wake()


async def sampled(
    engine: VllmEngine,
    tokenizer: PlainTokenizer,
    config: RolloutsConfig,
    end: int,
    prompt: RolloutPrompt,
    rollouts: int,
) -> tuple[tuple[Rollout, ...], Completion]:
    """The rollouts of a prompt, none where the engine could not, and what it said. end: the token
    that ends a text.
    """
    sampling = Sampling(
        config.tokens,
        config.temperature,
        config.top_p,
        seed=prompt.seed,
        n=rollouts,
        logprobs=True,
        end=end,
    )
    told = await engine.complete(Request(Prompt(tokens=prompt.tokens), sampling))
    return tuple(_rollout(tokenizer, end, prompt, sample) for sample in told.samples), told


def _rollout(tokenizer: PlainTokenizer, end: int, prompt: RolloutPrompt, sample: Sample) -> Rollout:
    ended = sample.token_ids[-1:] == (end,)
    spoken = sample.token_ids[:-1] if ended else sample.token_ids
    text = continuation(tokenizer, prompt.tokens, spoken)
    return Rollout(text=text, tokens=sample.token_ids, logprobs=sample.logprobs, ended=ended)
