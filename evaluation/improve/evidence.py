"""What the last command of `measure` left, as the gate takes it: scores by document, and guards.

judge: `prewrite judge report`, on labels. A document scores the share of its items on which the
judge is right: of a pair in both orders, of one text by how near it is to the label; an item whose
verdict cannot be read is wrong.

rewriter: a scored set, rewritten by it and judged by the anchor. A document scores the mean of
`rewrite_score`; a row without a usable rewrite scores 0.

policy: `prewrite evaluate` of two models, of which this is the one that is not the base. A document
scores the mean of what the anchor says of its continuations.

What has no score for another reason, such as a verdict of the anchor that cannot be read, is left
out and counted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.evaluation.improve.gate import Evidence
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.measures import WORDS
from prewrite.evaluation.writing import ORIGINAL
from prewrite.prompts.text import distinct_share, is_refusal, repetition
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import USABLE, Row

Scored = Iterable[tuple[str, float]]
"""Documents, each as often as it has texts with a score."""


def read_evidence(part: PartName, folder: str) -> Evidence:
    """The evidence in `folder`. InputError where it holds nothing of the kind; ShardError for a
    set that is not finished.
    """
    return {"judge": _judge, "rewriter": _rewriter, "policy": _policy}[part](folder)


def _judge(folder: str) -> Evidence:
    judge = _only(_json(folder, "report/report.json", "what `prewrite judge report` writes"))
    labelled = [
        (one["kind"], point)
        for one in judge["criteria"]
        for point in one["points"]
        if point["label"] is not None
    ]
    unread = [name for one in judge["criteria"] for name in one["unread"]]
    scored = [(point["document"], _right(kind, point)) for kind, point in labelled]
    pairs = [point for kind, point in labelled if kind == "pairwise"]
    flips = judge["canaries"].get("all attacks")
    guards = {
        "p_first": _mean((1 + p["orders"][0] - p["orders"][1]) / 2 for p in pairs),
        "canary_flips": flips and flips["value"],
        "length": _length_liked(pairs),
    }
    return Evidence(_by_document([*scored, *((name, 0.0) for name in unread)]), guards)


def _only(report: Mapping[str, Any]) -> dict[str, Any]:
    """The judge of a report."""
    judges = report["judges"]
    if len(judges) != 1:
        raise InputError(
            f"the judge report: found {len(judges)} judges; accepted: the measured one"
        )
    return dict(judges[0])


def _right(kind: str, point: Mapping[str, Any]) -> float:
    """1 for a pair whose better text is named in both orders; of one text the nearness."""
    if kind != "pairwise":
        return 1 - abs(float(point["value"]) - float(point["label"]))
    side = point["label"] - 0.5
    return float(
        all((value - 0.5) * side > 0 or value == point["label"] for value in point["orders"])
    )


def _length_liked(pairs: Sequence[Mapping[str, Any]]) -> float | None:
    """How often the longer text wins, less how often it should; a tie is half a win."""
    uneven = [one for one in pairs if one["length"]]
    return _mean(_longer(one, "value") - _longer(one, "label") for one in uneven)


def _longer(pair: Mapping[str, Any], by: str) -> float:
    side = (pair[by] - 0.5) * pair["length"]
    return 0.5 if side == 0 else float(side > 0)


def _rewriter(folder: str) -> Evidence:
    shards = ShardSet(folder).finished()
    if "rewrite_score" not in shards.manifest.columns.names:
        raise InputError(f"{folder}: found a set without scores; accepted: one that was judged")
    names = ["doc_id", "original", "rewrite", "rewrite_status", "rewrite_score"]
    rows = [row for row in shards.rows(names) if row["rewrite_status"] != "skipped"]
    usable = [row for row in rows if row["rewrite_status"] in USABLE]
    scored = [
        (row["doc_id"], score)
        for row in rows
        if (score := row["rewrite_score"] if row["rewrite_status"] in USABLE else 0.0) is not None
    ]
    guards = _of_texts([row["rewrite"] for row in usable])
    guards |= {
        "refusals": _mean(float(row["rewrite_status"] == "refused") for row in rows),
        "length": _lengths([row["rewrite"] for row in usable], [row["original"] for row in usable]),
        "overlap": _mean(_overlap(row["rewrite"], row["original"]) for row in usable),
    }
    return Evidence(_by_document(scored), guards, _left_out(len(rows) - len(scored)))


def _policy(folder: str) -> Evidence:
    config = _json(folder, "evaluation.json", "what `prewrite evaluate` writes")
    others = [name for name in config["models"] if name != config["config"]["base"]]
    if len(others) != 1 or others[0] not in config["complete"]:
        raise InputError(
            f"{folder}: found {len(config['complete'])} evaluated models; accepted: the base, and "
            "the one that is measured"
        )
    texts = _rows(folder, f"continuations/{others[0]}")
    scores = _rows(folder, f"scores/{others[0]}")
    written = [row for row in texts if row["decoding"] != ORIGINAL and row["text"] is not None]
    originals = [row for row in texts if row["decoding"] == ORIGINAL]
    scored = [(row["doc_id"], row["score"]) for row in scores if row["score"] is not None]
    guards = _of_texts([row["text"] for row in written])
    guards |= {
        "refusals": _mean(float(is_refusal(row["text"])) for row in written),
        "length": _lengths(*_beside(written, originals)),
        "bits_per_byte": _bits_per_byte([row for row in originals if row["logprob"] is not None]),
    }
    return Evidence(_by_document(scored), guards, _left_out(len(scores) - len(scored)))


def _beside(written: Sequence[Row], originals: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Continuations, and what truly stands in their place."""
    known = {(row["split"], row["id"]): row["text"] for row in originals}
    pairs = [(row["text"], known.get((row["split"], row["id"]))) for row in written]
    return [one for one, other in pairs if other], [other for _, other in pairs if other]


def _of_texts(texts: Sequence[str]) -> dict[str, float | None]:
    repeated = [value for text in texts if (value := repetition(text)) is not None]
    return {"repetition": _mean(repeated), "distinct_4": distinct_share(texts, 4, WORDS)}


def _lengths(own: Sequence[str], other: Sequence[str]) -> float | None:
    below = sum(map(len, other))
    return sum(map(len, own)) / below if below else None


def _overlap(one: str, other: str) -> float:
    """Words shared, by those of the longer text; 0..1."""
    own, before = Counter(one.split()), Counter(other.split())
    return (own & before).total() / max(own.total(), before.total(), 1)


def _bits_per_byte(rows: Sequence[Row]) -> float | None:
    size = sum(len(row["text"].encode("utf-8", "surrogatepass")) for row in rows)
    return -sum(row["logprob"] for row in rows) / log(2) / size if size else None


def _by_document(scored: Scored) -> dict[str, float]:
    found = defaultdict[str, list[float]](list)
    for name, score in scored:
        found[name].append(score)
    return {name: fmean(values) for name, values in sorted(found.items())}


def _left_out(unread: int) -> dict[str, int]:
    return {"the anchor's verdict could not be read": unread} if unread else {}


def _mean(values: Iterable[float]) -> float | None:
    found = [*values]
    return fmean(found) if found else None


def _json(folder: str, name: str, accepted: str) -> dict[str, Any]:
    data = Folder(folder).read(name)
    try:
        return dict(json.loads(data or b""))
    except (ValueError, TypeError):
        raise InputError(
            f"{folder}/{name}: found {'nothing' if data is None else 'something else'}; accepted: "
            f"{accepted}"
        ) from None


def _rows(url: str, below: str) -> list[Row]:
    folder = Folder(url)
    names = [name for name in folder.names(below) if name.endswith(".parquet")]
    found = list[Row]()
    for name in names:
        with folder.open(name) as stream:
            found += pq.read_table(stream, page_checksum_verification=True).to_pylist()
    return found
