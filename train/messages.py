"""What goes to a rollout worker and what comes back: prompts for rollouts, and groups.

A *prompt* belongs to one cut point of a document: the prefix as the policy sees it and as the judge
reads it, and the stored texts that compete there. A *group* holds its rollouts, and a score for
every text of the pool that the judge could read. Groups are plain JSON, so they can be kept
(`store`), dumped and replayed; prompts never leave the run's own processes.
"""

from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prewrite.base.fingerprint import fingerprint
from prewrite.judge.pool import Pool
from prewrite.train.data.prompted import Wanted

Metrics = dict[str, float]

PromptKey = tuple[int, str]
"""(sample, row id): a cut point of a run."""


def rollout_name(number: int) -> str:
    """What a pool calls rollout `number`; the stored texts have the names of their columns."""
    return f"rollout-{number}"


def is_rollout(name: str) -> bool:
    """Whether a pool calls a rollout so."""
    return name.startswith("rollout-")


def seed_of(seed: int, key: PromptKey) -> int:
    """The seed of a prompt's rollouts; room is left above it, for the engine adds each one's
    number.
    """
    digest = blake2b(f"{seed}:{key[0]}:{key[1]}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 2


@dataclass(frozen=True)
class RolloutPrompt:
    """One cut point that asks for rollouts.

    sample: the number of the sample in the run's order. tokens: the ids that the policy goes on
    from. seed: of the rollouts; a function of run, sample and row. pool: of the shard row, with the
    stored texts that compete; its reference is the original. turn: its number among the prompts of
    the row, which are one group. wanted: of a prompted task. doc_id: of the row.
    """

    sample: int
    tokens: tuple[int, ...]
    seed: int
    pool: Pool
    turn: int = 0
    wanted: Wanted | None = None
    doc_id: str = ""

    @property
    def id(self) -> str:
        """The shard row, and for a further prompt of it its number."""
        return f"{self.pool.row_id}:{self.turn}" if self.turn else self.pool.row_id

    @property
    def key(self) -> PromptKey:
        """The cut point of the run that it belongs to."""
        return self.sample, self.id

    @property
    def digest(self) -> str:
        """SHA-256 of the prompt's tokens, the original, and what is wanted."""
        wanted = [asdict(self.wanted)] if self.wanted else []
        return fingerprint([self.tokens, self.pool.reference, *wanted])


class Rollout(BaseModel):
    """One text that the policy sampled. tokens: with the end of text, where it came (`ended`).
    logprobs: natural log of each token's probability under the weights that sampled it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


class RolloutGroup(BaseModel):
    """The rollouts of a prompt and what the judge said of its pool.

    prompt: digest of the prompt. version: steps that the weights which sampled had made. rollouts:
    fewer than were asked for, or none, where the engine failed. scores: name → combined score; a
    text that could not be judged is not in it. values: criterion → name → value 0..1, or what else
    a task measures of a text. counts: verdicts by status, engine failures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: int
    id: str
    prompt: str = ""
    version: int
    rollouts: tuple[Rollout, ...]
    scores: Metrics
    values: dict[str, Metrics] = {}
    counts: dict[str, int] = {}

    @property
    def key(self) -> PromptKey:
        """The cut point that it belongs to."""
        return self.sample, self.id


@dataclass(frozen=True)
class WeightSync:
    """Load the weights of `version` from `folder`, and prove it on `tokens`, to which the trainer
    gives the log-probabilities `logprobs` (of all but the first).
    """

    version: int
    folder: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class RolloutRequest:
    """Sample and judge these prompts with the weights of `version`. number: the caller's, which the
    answer bears. rollouts: how many of each prompt. keep: whether the groups go into the store.
    """

    number: int
    version: int
    prompts: tuple[RolloutPrompt, ...]
    rollouts: int
    keep: bool


@dataclass(frozen=True)
class WeightsSynced:
    """The engine has the weights. difference: mean absolute difference of log-probabilities, nats.
    seconds: of loading and proving.
    """

    version: int
    difference: float
    seconds: float


@dataclass(frozen=True)
class RolloutResponse:
    """The groups of a `RolloutRequest`, in the order of its prompts. values: what it took, as
    metrics: seconds of sampling and of judging, and tokens and requests of both.
    """

    number: int
    groups: tuple[RolloutGroup, ...]
    values: Metrics


@dataclass(frozen=True)
class Failed:
    """The worker cannot go on; nothing more will come. sentence: why, for a person."""

    sentence: str
    kind: Literal["config", "engine"] = "engine"
