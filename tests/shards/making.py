"""Finished sets of given rows, made by the commit log itself: for tests and benchmarks."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.shards import log
from prewrite.shards.commit_log import Block, CommitLog, Lineage
from prewrite.shards.leftovers import clean
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassFacts, PassInfo, Record
from prewrite.shards.merge import merge, to_merge
from prewrite.shards.schema import Row, status_counts
from prewrite.shards.summary import fold, summary_of

OWNER, TOKEN = "00000000", "000000000000"
_CONFIG = {"chunking": {"tokens": 128}}
_MADE = PassInfo(name="rewrite", fingerprint=fingerprint(_CONFIG), config=_CONFIG)


def row(document: str, chunk: int = 0, chunks: int = 1, text: str = "text") -> Row:
    """A row of a rewritten set, of a document with this `doc_id`."""
    return {
        "id": f"{document}-{chunk}",
        "doc_id": document,
        "source": "web",
        "chunk": chunk,
        "chunks": chunks,
        "original": f"{text} of {document}",
        "original_tokens": 4,
        "rewrite": f"better {text}",
        "rewrite_status": "ok",
        "meta": "{}",
    }


def write_set(
    url: str,
    parts: Iterable[Sequence[Row]],
    verdicts: Iterable[Sequence[Row]] = (),
    **given: Any,
) -> Manifest:
    """A complete set of `parts`, each a file of its own; given: what its manifest says besides."""
    folder = Folder(url)
    start: dict[str, Any] = {"owners": [OWNER], "passes": [_MADE], "inputs": []}
    manifest = Manifest(**start | given)
    kept = manifest.model_copy(deep=True)
    commit_log = CommitLog(folder, manifest)
    records = [commit_log.commit(block) for block in _blocks(parts, verdicts, manifest.texts)]
    finish(folder, manifest, records)
    for name in given:
        setattr(manifest, name, getattr(kept, name))
    manifest.status = given.get("status", "complete")
    commit_log.clear()
    manifest.save(folder)
    return manifest


def finish(folder: Folder, manifest: Manifest, records: Sequence[Record]) -> None:
    """Write the log, and what it says into the manifest."""
    manifest.log = log.write(folder, records, OWNER + secrets.token_hex(2))
    summary_of(records).write_into(manifest, "complete")


def _blocks(
    parts: Iterable[Sequence[Row]], verdicts: Iterable[Sequence[Row]], texts: Sequence[str]
) -> Iterator[Block]:
    for number, (rows, said) in enumerate(zip_longest(parts, verdicts, fillvalue=())):
        documents = sum(row["chunk"] == 0 for row in rows)
        counts = status_counts(rows, texts)
        counts.update(f"verdict:{verdict['status']}" for verdict in said)
        yield Block(
            split=f"{number:05d}",
            number=0,
            start=0,
            stop=documents,
            documents=documents,
            rows=list(rows),
            judgements=list(said),
            facts=PassFacts(counts=dict(counts)),
            last=True,
            place=Lineage(1, TOKEN, "", TOKEN),
        )


def merge_set(url: str, least: int | None = None) -> None:
    """Bring the row groups of a set into large files, as a run does."""
    with OutputLock(Folder(url)) as lock:
        manifest = Manifest.load(lock.folder)
        commit_log = CommitLog(lock.folder, manifest)
        for some in to_merge([*log.records(lock.folder, manifest)], least):
            merge(commit_log, lock.folder, some)
        splits = sorted(commit_log.splits())
        finish(lock.folder, manifest, fold(CommitLog(lock.folder, manifest), splits).every)
        manifest.save(lock.folder)
        clean(lock.folder, manifest)
