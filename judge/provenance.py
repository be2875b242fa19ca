"""What a model was trained on, and who judged it: `prewrite.json` beside its weights.

Training leaves it, so that an evaluation can tell whether its judge is the one that the model has
learnt to please, and whether its held-out texts are held out. It holds names, digests and
fingerprints, and no secret. A model made from such a model takes its entries along.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prewrite.base.errors import ConfigError, InputError
from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import identity
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import load_criterion
from prewrite.shards.manifest import Manifest

NAME = "prewrite.json"


class _ProvenanceModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TrainedOn(_ProvenanceModel):
    """A shard set: its generation, its passes' fingerprints, that of its parts, and which rows were
    taken.
    """

    set: str
    generation: int = 1
    passes: list[str]
    parts: str
    filter: str | None = None

    @classmethod
    def of(cls, url: str, manifest: Manifest, taken: str | None) -> "TrainedOn":
        """The entry of a set."""
        return cls(
            set=url,
            generation=manifest.generation,
            passes=[one.fingerprint for one in manifest.passes],
            parts=manifest.known_as,
            filter=taken,
        )

    def same_as(self, other: "TrainedOn") -> bool:
        """Whether both hold the same chunks: the parts are the same, or the pass that made them
        out of the corpus.
        """
        made = [one for one in self.passes[:1] if one]
        return self.parts == other.parts or made != [] and made == other.passes[:1]


class JudgeIdentity(_ProvenanceModel):
    """Who judged, and on what. judges: name → identity of the engine, with the digests of the
    models that it was made from (`parents`), where they are known; criteria: identities, those that
    ask a model (`needs_engine`) and those that ask none.
    """

    judges: dict[str, dict[str, Any]]
    criteria: list[dict[str, Any]]
    asked: list[str]

    @classmethod
    def of(cls, judge: JudgeConfig, engines: Mapping[str, EngineConfig]) -> "JudgeIdentity":
        """The one that a section `judge` describes."""
        criteria = [load_criterion(name) for name in judge.criteria]
        asked = [criterion.name for criterion in criteria if criterion.needs_engine]
        return cls(
            judges={name: _with_parents(engines[name]) for name in judge.panel if asked},
            criteria=[c.identity() | judge.calibrated(c) for c in criteria],
            asked=asked,
        )

    def holds(self, engine: EngineConfig) -> bool:
        """Whether the model of an engine is one of the judges."""
        return any(kin(one, _with_parents(engine)) for one in self.judges.values())

    def shared_with(self, other: "JudgeIdentity") -> list[str]:
        """In words, what of these judges is among the others, too, or was made from one of them, or
        they from it. A set's manifest names its judge also where only functions scored it: that one
        has said nothing.
        """
        models = [
            _told(one, another)
            for one in self.judges.values()
            for another in (other.judges.values() if other.asked else ())
            if kin(one, another)
        ]
        known = [_bare(one) for one in other.criteria if one["name"] not in other.asked]
        functions = [
            f"the criterion {one['name']}"
            for one in self.criteria
            if one["name"] not in self.asked and _bare(one) in known
        ]
        return [*dict.fromkeys([*models, *functions])]


class Provenance(_ProvenanceModel):
    """The content of the file. task: what the model was trained for last. parents: the models that
    it was made from, the first one first: the digest of each, and the name of one that has it from
    a hub, where engines and sets name it so.
    """

    format_version: int = 1
    task: str = "continue"
    parents: list[str] = []
    data: list[TrainedOn] = []
    judged_by: list[JudgeIdentity] = Field([], alias="juries")  # its name in the file

    def after(self, earlier: "Provenance | None") -> "Provenance":
        """This one, with what the model came from already had."""
        if earlier is None:
            return self
        return Provenance(
            task=self.task,
            parents=[*earlier.parents, *self.parents],
            data=_distinct([*earlier.data, *self.data]),
            judged_by=_distinct([*earlier.judged_by, *self.judged_by]),
        )


def read(model: str) -> Provenance | None:
    """That of a model folder; None where there is none; InputError for one that is damaged."""
    file = Path(model) / NAME
    if not file.is_file():
        return None
    try:
        return Provenance.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise InputError(
            f"{file}: found something else than what training leaves there; accepted: that, or no "
            "such file"
        ) from None


def set_judges(manifest: Manifest) -> JudgeIdentity | None:
    """Who gave a set its scores; None where it has none."""
    made = manifest.passes[-1]
    if made.name != "judge":
        return None
    criteria = made.config["criteria"]
    asked = [one["name"] for one in criteria if one["kind"] in _ASKED]
    return JudgeIdentity(
        judges=made.config["judges"] if asked else {},
        criteria=[{k: v for k, v in one.items() if k not in _NOT_IDENTITY} for one in criteria],
        asked=asked,
    )


def compared_with_itself(manifest: Manifest) -> list[str]:
    """The criteria in a set's score that judged its originals with the original as reference. One
    whose file is gone since is not among them.
    """
    made = next((one for one in reversed(manifest.passes) if one.name == "judge"), None)
    if made is None:
        return []
    paths = made.config.get("judge", {}).get("criteria", [])
    return [
        known["name"]
        for path, known in zip(paths, made.config.get("criteria", []), strict=False)
        if known["kind"] in _SHOWN and known["weight"] and _has_reference(path)
    ]


def _has_reference(path: str) -> bool:
    try:
        return load_criterion(path).has_reference
    except ConfigError:
        return False


_SHOWN = ("pairwise", "pointwise")
_NOT_IDENTITY = ("weight", "key")
_ASKED = ("pairwise", "pointwise", "likelihood")


def _bare(criterion: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in criterion.items() if key not in _NOT_IDENTITY}


def _same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """By the digest where both have one; else the name has to do."""
    digests = one.get("digest"), other.get("digest")
    return digests[0] == digests[1] if all(digests) else one["model"] == other["model"]


def _with_parents(engine: EngineConfig) -> dict[str, Any]:
    """The identity of an engine, and from which models its model was made."""
    known = read(engine.model)
    return identity(engine) | ({"parents": known.parents} if known and known.parents else {})


def kin(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two engines have one model, or that of one was made from that of the other."""
    return _same_model(one, other) or _made_from(one, other) or _made_from(other, one)


def _made_from(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """By the digest of the other, or where it has none, by its name."""
    return (other.get("digest") or other["model"]) in one.get("parents", ())


def _told(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if _same_model(one, other):
        return f"the model {one['model']}"
    if _made_from(one, other):
        return f"the model {other['model']}, from which {one['model']} was made,"
    return f"the model {other['model']}, which was made from {one['model']},"


def _distinct(items: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
