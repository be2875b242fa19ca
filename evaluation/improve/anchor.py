"""Anchors: what candidates are measured with. They are never trained on, never change, and come
from nothing that they judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.digest import model_digest
from prewrite.evaluation.checks import documents_of
from prewrite.evaluation.improve.gate import needed
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.ledger import ModelRef
from prewrite.evaluation.improve.state import PartModels
from prewrite.judge.provenance import JudgeIdentity, kin, read, set_judges
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet

FIRST, LAST = "anchor", "last_anchor"

Places = Mapping[str, str]
"""Name → where it lies."""


def model_ref(model: str) -> ModelRef:
    """A model and its digest; of an id of a hub that is not in the cache its name has to do."""
    digest = model_digest(model)
    return ModelRef(model=model, digest=fingerprint(model) if digest == "unknown" else digest)


def digests(key: str, anchor: Places) -> dict[str, str]:
    """The digest of each: of a set by its manifest, which has those of its rows; of a model or a
    file by its bytes. ConfigError where there is nothing.
    """
    return {name: _digest(f"improve.{key}.{name}", place) for name, place in anchor.items()}


def _digest(key: str, place: str) -> str:
    if _manifest(place):
        manifest = ShardSet(place).finished().manifest
        return fingerprint([manifest.generation, manifest.rows_digest])
    if (found := model_digest(place)) != "unknown":
        return found
    raise ConfigError(
        f"{key}: found nothing at {place}; accepted: a finished set, a file, or a model that is "
        "here"
    )


def refuse_swapped(key: str, anchor: Places, known: Mapping[str, str]) -> None:
    """InputError, naming the anchor, where it is not the one that the ledger knows."""
    now = digests(key, anchor)
    for name in anchor:
        if now[name] != known.get(name):
            raise InputError(
                f"improve.{key}.{name}: found {anchor[name]} with the digest {now[name][:12]}; "
                f"accepted: {str(known.get(name))[:12]}, the one that the ledger began with"
            )


def refuse_kin(key: str, anchor: Places, models: PartModels) -> None:
    """ConfigError where an anchor is one of the models that it judges, was made from one, made one,
    or has its scores from one.
    """
    for name, place in anchor.items():
        for part, model in models.items():
            own = _known(model)
            for what, other in _judges(place):
                if kin(own, other):
                    raise ConfigError(
                        f"improve.{key}.{name}: found {what}, which is the {part} {model.model} "
                        "or descends from it, or it from that; accepted: one of another descent"
                    )


def _judges(place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models behind an anchor, each with what to call it."""
    if manifest := _manifest(place):
        judges = set_judges(manifest)
        for name, one in (judges.judges if judges else {}).items():
            yield f"{place}, scored by {name},", one
    elif not Path(place).is_file():
        yield place, _known(model_ref(place))


def _known(model: ModelRef) -> dict[str, Any]:
    """A model as `kin` compares it: by its digest, one of a hub by its name."""
    made = read(model.model)
    known = {"model": model.model, "parents": made.parents if made else []}
    return known | ({"digest": model.digest} if Path(model.model).is_dir() else {})


def refuse_few_documents(key: str, anchor: Places, comparisons: int, gain: float) -> None:
    """ConfigError where a set of an anchor has fewer documents than the gate needs."""
    least = needed(comparisons, gain)
    for name, place in anchor.items():
        if (manifest := _manifest(place)) and manifest.documents < least:
            raise ConfigError(
                f"improve.{key}.{name}: found {manifest.documents} documents in {place}; accepted: "
                f"at least {least}, which it takes to find a gain of {gain:g} among {comparisons} "
                "comparisons"
            )


def refuse_shared(anchor: Places, last: Places) -> None:
    """ConfigError where the second anchor has the content or documents of the first."""
    one, other = digests("anchor", anchor), digests("last_anchor", last)
    for name in anchor:
        sets = [place for place in (anchor[name], last[name]) if _manifest(place)]
        if one[name] == other[name] and sets:
            raise ConfigError(
                f"improve.last_anchor.{name}: found {last[name]}, the same as in anchor; accepted: "
                "another set, which no decision has seen"
            )
        if len(sets) == 2 and (both := _documents(sets[0]) & _documents(sets[1])):
            raise ConfigError(
                f"improve.last_anchor.{name}: found {len(both)} documents of anchor.{name} in it; "
                "accepted: none"
            )


def refuse_learnt(key: str, anchor: Places, part: PartName, model: str) -> None:
    """InputError where the model of a part has learnt from documents of an anchor, or by the word
    of its judge. Sets that are no longer there cannot be looked at.
    """
    if (known := read(model)) is None:
        return
    _refuse_word(key, anchor, part, known.judged_by, f"what {model} learnt from")
    for name, place in anchor.items():
        if _manifest(place):
            _refuse_seen(f"improve.{key}.{name}", _documents(place), model)


def refuse_labelled(key: str, anchor: Places, part: PartName, url: str, step: str) -> None:
    """InputError where the scores of a set that is there, and that a step is to learn from, are the
    word of an anchor's judge.
    """
    judges = set_judges(manifest) if (manifest := _manifest(url)) else None
    what = f"{url}, which {step} learns from"
    _refuse_word(key, anchor, part, [judges] if judges else [], what)


def _refuse_word(
    key: str, anchor: Places, part: PartName, judged_by: Sequence[JudgeIdentity], what: str
) -> None:
    """InputError where a judge of an anchor is among those that judged what a part learns from.

    Only labels by the first anchor's judge are accepted, and only for the judge: it has to say what
    that one says, and does so on documents that it has not learnt from. Rewriter and policy are
    measured by what that one says of their own texts. The second anchor's judge labels nothing, so
    that it is independent of all that was made.
    """
    if not judged_by or (key == FIRST and part == "judge"):
        return
    only = "labels only what the judge learns from" if key == FIRST else "nothing is trained with"
    for name, place in anchor.items():
        for told, judge in _judges(place):
            if any(kin(judge, one) for by in judged_by for one in by.judges.values()):
                raise InputError(
                    f"improve.{key}.{name}: found {told}, which judged {what}; accepted: a judge "
                    f"that {only}"
                )


def _refuse_seen(key: str, held: set[str], model: str) -> None:
    known = read(model)
    for trained in known.data if known else ():
        if _manifest(trained.set):
            seen = held & {*documents_of(ShardSet(trained.set), trained.filter)}
            if seen:
                raise InputError(
                    f"{key}: found {len(seen)} of its documents in {trained.set}, which {model} "
                    "learnt from; accepted: documents that nothing is trained on"
                )


def _documents(place: str) -> set[str]:
    return {*documents_of(ShardSet(place), None)}


def _manifest(place: str) -> Manifest | None:
    """That of a set; None where there is none."""
    local = "://" not in place
    return None if local and not Path(place).is_dir() else Manifest.find(Folder(place))
