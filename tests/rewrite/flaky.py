"""Answers of a server of which few fail, and what is asked of it and kept."""

import hashlib
import math
import re
from collections import Counter
from typing import Any

from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from tests.engine.fault_server import Call, Fault, FaultServer


def passage(call: Call) -> str:
    """The text that is asked about."""
    return str(re.findall(r"<(passage[^>]*)>(.*)</\1>", call.text, re.DOTALL)[-1][1]).strip()


def rewrites(call: Call) -> bool:
    return bool(call.body["max_tokens"] > 1)


def is_safety(call: Call) -> bool:
    return not rewrites(call) and "safe to learn from" in call.text


def uneven(call: Call) -> Fault:
    """Verdicts whose probabilities depend on what is asked, and are no round numbers."""
    digest = hashlib.sha256(call.text.encode()).digest()

    def edit(answer: dict[str, Any]) -> None:
        for choice in answer["choices"]:
            for entry in (choice["logprobs"] or {}).get("content", []):
                for verdicts in ("ABC", "12"):
                    tops = [top for top in entry["top_logprobs"] if top["token"] in verdicts]
                    weights = [20 + digest[number] for number in range(len(tops))]
                    for top, weight in zip(tops, weights, strict=True):
                        top["logprob"] = math.log(0.97 * weight / sum(weights))

    return Fault(edit=edit)


def flaky(call: Call) -> Fault | None:
    """Two rewrites, one verdict on a rewrite and one on a pair are refused."""
    if rewrites(call):
        pattern, text = r"Document [35] of file 0", passage(call)
    elif is_safety(call):
        pattern, text = r"DOCUMENT 6 OF FILE 1", passage(call)
    else:
        pattern, text = r".*<first[^>]*>\s*Document 5 of file 1", call.text
    return Fault(400) if re.match(pattern, text, re.DOTALL) else uneven(call)


def asked(server: FaultServer) -> Counter[str]:
    """What was asked since the last look."""
    kinds = Counter(
        "rewrite" if rewrites(c) else "safety" if is_safety(c) else "quality" for c in server.calls
    )
    server.calls.clear()
    return kinds


def rows(url: object) -> dict[str, Row]:
    return {row["id"]: row for row in ShardSet(str(url)).rows()}


def holes(row: Row) -> set[str]:
    """What a row lacks: a rewrite, scores."""
    return {name for name, value in row.items() if value is None and name != "rewrite_reason"}


def verdicts(url: object) -> dict[tuple[Any, ...], Row]:
    shards = ShardSet(str(url))
    found = [row for f in shards.verdicts for b in shards.batches(f) for row in b.to_pylist()]
    names = ("id", "judge", "criterion", "candidate", "opponent", "order", "vote")
    return {tuple(row[name] for name in names): row for row in found}
