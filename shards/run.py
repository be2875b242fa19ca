"""Run one pass from its start, or from wherever it stopped, to a verified, complete set.

Order of writes: manifest (`running`) → parts and records → manifest (`complete`) and card → the
records go. A kill between any two of them is resumed by the same command. Only one run may own an
output at a time.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from base.errors import EngineError, Interrupted, PrewriteError, ShardError
from base.files import Folder
from base.fingerprint import differences, fingerprint
from shards.card import card
from shards.executor import RunConfig, execute
from shards.journal import FOLDER, Folded, Journal, fold, skipped_lines
from shards.lease import Lease
from shards.limit import check_failed
from shards.manifest import NAME, Manifest, Status
from shards.passes import Pass, Split
from shards.repair import keep
from shards.schema import FORMAT_VERSION
from shards.worker import check_bad_rows

SKIPPED = "skipped.jsonl"


Execute = Callable[[Pass, list[Split], str, RunConfig], None]


def run_pass(job: Pass, output: str, run: RunConfig, execute: Execute = execute) -> Manifest:
    """Make the set at `output`, or continue it, or find it complete; returns its manifest.
    `execute` runs the tasks.

    Raises ShardError when `output` holds something made under another configuration, InputError
    for a bad corpus, EngineError for a dead engine, Interrupted after a signal.
    """
    folder = Folder(output)
    if finished(job, output) is None:
        job.source.splits()  # an empty corpus is found before anything is made
    try:
        with Lease(folder):
            # Another run may have completed it, or a kill come just before its last step.
            complete = finished(job, output)
            complete = complete or _run(job, folder, job.source.splits(), run, execute)
            folder.remove(FOLDER)
            return complete
    finally:
        _tidy(folder)


def _run(
    job: Pass, folder: Folder, splits: list[Split], run: RunConfig, execute: Execute
) -> Manifest:
    manifest = start_set(job, folder, splits)
    journal = Journal(folder, manifest.columns, manifest.passes[-1].fingerprint)
    begun = time.monotonic()
    try:
        execute(job, splits, folder.url, run)
    except Interrupted:
        _complete(manifest, fold(journal, (s.name for s in splits)), splits, "interrupted")
        manifest.passes[-1].seconds += time.monotonic() - begun
        manifest.save(folder)
        raise
    except PrewriteError:
        if journal.is_empty(split.name for split in splits):
            folder.remove(NAME)  # nothing was made: another configuration may start here
            journal.clear()
        raise
    manifest.passes[-1].seconds += time.monotonic() - begun
    return _finish(job, folder, journal, manifest, splits, run.max_failed)


def _tidy(folder: Folder) -> None:
    """Remove the folder of a local set where nothing was made."""
    if folder.is_local:
        with suppress(OSError):
            Path(folder.root).rmdir()


def finished(job: Pass, output: str, remedy: str = "choose another output") -> Manifest | None:
    """The manifest at `output` when this very pass has completed it; refuses another's set, and
    says what to do instead: `remedy`.
    """
    folder = Folder(output)
    found = Manifest.find(folder)
    if found is None:
        return None
    last, config = found.passes[-1], job.config()
    if last.fingerprint == fingerprint(config) and last.name == job.name:
        if found.status != "complete" and not found.columns.equals(job.columns):
            raise ShardError(
                f"{folder.url}: found an unfinished run of format {found.format_version}; "
                f"accepted: format {FORMAT_VERSION}; finish it with the version of Prewrite that "
                f"began it, or {remedy}"
            )
        return found if found.status == "complete" else None
    if _holds_rows(found, job, folder):
        lines = differences({"pass": last.name, **last.config}, {"pass": job.name, **config})
        raise ShardError(
            f"{folder.url} was made under another configuration; {remedy}, or restore:\n"
            + "\n".join(f"  {line}" for line in lines)
        )
    return None


def _holds_rows(found: Manifest, job: Pass, folder: Folder) -> bool:
    """Whether a set is more than the manifest of a run that was killed before its first commit."""
    splits = [split.name for split in job.source.splits()]
    journal = Journal(folder, found.columns, found.passes[-1].fingerprint)
    return found.status != "running" or not journal.is_empty(splits)


def start_set(job: Pass, folder: Folder, splits: list[Split]) -> Manifest:
    """The manifest of this run: the stored one to continue, or a new one."""
    new = job.begin(splits)
    found = Manifest.find(folder)
    same = found and found.passes[-1].fingerprint == new.passes[-1].fingerprint
    manifest = found if found and same else new
    if not same:
        folder.remove(FOLDER)  # all that another configuration can have left is what it had open
    manifest.status, manifest.inputs = "running", new.inputs  # the corpus may have moved
    manifest.save(folder)
    return manifest


def _finish(
    job: Pass,
    folder: Folder,
    journal: Journal,
    manifest: Manifest,
    splits: list[Split],
    max_failed: float,
) -> Manifest:
    folded = fold(journal, (split.name for split in splits))
    if folded.unfinished:
        raise ShardError(f"{folder.url}: not finished: {', '.join(folded.unfinished[:5])}")
    records = sum(folded.records.values())
    check_bad_rows(len(folded.skipped), records, job.max_bad_rows, folded.skipped)
    try:
        check_failed(job.name, folded.tally, max_failed)
    except EngineError:
        _complete(manifest, folded, splits, "interrupted")  # so that it can be looked at
        manifest.save(folder)
        raise
    _complete(manifest, folded, splits, "complete")
    if folded.skipped:
        folder.write(SKIPPED, skipped_lines(folded.skipped))
    folder.write("README.md", card(manifest).encode())
    keep(folder, journal, (split.name for split in splits))
    _sweep(folder, manifest)
    manifest.save(folder)
    return manifest


def _complete(manifest: Manifest, folded: Folded, splits: list[Split], status: Status) -> None:
    """Write into the manifest what the records say."""
    folded.write_into(manifest, status)
    known = {item.path: item for item in manifest.inputs}
    for split in splits:  # several may be ranges of one file
        item, records = known.get(split.path), folded.records.get(split.name)
        if item and records is not None:
            item.records = (item.records or 0) + records
            item.sha256 = folded.sha256.get(split.name) or item.sha256


def _sweep(folder: Folder, manifest: Manifest) -> None:
    """Remove what a killed run left: parts without a record, temporary files."""
    listed = {file.name for file in (*manifest.parts, *manifest.judgements)}
    for name in folder.names():
        ours = name.removeprefix("judgements/")
        stray = ours.startswith("part-") and name not in listed
        if stray or (ours.startswith(".") and ".tmp-" in ours and "/" not in ours):
            folder.remove(name)
