"""Groups and places for tests: with given scores and texts, and any at all."""

from typing import Any

from hypothesis import strategies as st

from prewrite.judge.pool import Pool
from prewrite.train.messages import Rollout, RolloutGroup, RolloutPrompt, rollout_name


def rollout(text: str, tokens: int = 4, surprise: float = 1.0, ended: bool = True) -> Rollout:
    """A rollout of so many tokens, each with so many nats."""
    return Rollout(
        text=text, tokens=tuple(range(tokens)), logprobs=(-surprise,) * tokens, ended=ended
    )


def group(*texts: str | Rollout, sample: int = 0, **fields: Any) -> RolloutGroup:
    """The rollouts `texts`; scores by name, as they would be keyword arguments."""
    rollouts = tuple(text if isinstance(text, Rollout) else rollout(text) for text in texts)
    known = {"id": "row", "version": 0, "scores": {}} | fields
    return RolloutGroup.model_validate({"sample": sample, "rollouts": rollouts} | known)


def prompt(
    sample: int = 0,
    original: str = "The original text.",
    id: str = "row",
    context: tuple[str, ...] = ("What stands ", "before."),
    stored: dict[str, str] | None = None,
    doc_id: str = "document",
) -> RolloutPrompt:
    texts = {"original": original} if stored is None else stored
    return RolloutPrompt(sample, (1, 2), 0, Pool(id, context, original, texts), doc_id=doc_id)


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-0123456789", min_size=1, max_size=12)
_VALUES = st.dictionaries(_NAMES, _NUMBERS, max_size=4)


@st.composite
def any_rollout(draw: st.DrawFn) -> Rollout:
    tokens = draw(st.lists(st.integers(0, 2**31 - 1), max_size=6))
    size = len(tokens)
    logprobs = draw(st.lists(_NUMBERS, min_size=size, max_size=size))
    return Rollout(
        text=draw(st.text(max_size=30)),
        tokens=tuple(tokens),
        logprobs=tuple(logprobs),
        ended=draw(st.booleans()),
    )


@st.composite
def any_pools(draw: st.DrawFn) -> list[tuple[RolloutPrompt, RolloutGroup]]:
    """Some places with their groups, each sample and row once."""
    keys = st.tuples(st.integers(0, 2**40), st.text(max_size=8))
    pools = []
    for sample, id in draw(st.lists(keys, min_size=1, max_size=4, unique=True)):
        rollouts = draw(st.lists(any_rollout(), max_size=4))
        scored = st.sampled_from(["original", *(rollout_name(n) for n in range(len(rollouts)))])
        found = RolloutGroup(
            sample=sample,
            id=id,
            version=draw(st.integers(0, 2**40)),
            rollouts=tuple(rollouts),
            scores=draw(st.dictionaries(scored, _NUMBERS)),
            values=draw(st.dictionaries(_NAMES, _VALUES, max_size=3)),
            counts=draw(st.dictionaries(_NAMES, st.integers(0, 2**40), max_size=3)),
        )
        stored = draw(st.fixed_dictionaries({}, optional={"original": st.text()}))
        context = tuple(draw(st.lists(st.text(max_size=10), max_size=3)))
        original, doc_id = draw(st.text(max_size=20)), draw(st.text(max_size=2))
        pools.append((prompt(sample, original, id, context, stored, doc_id), found))
    return pools
