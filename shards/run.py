"""Run one pass from its start, or from wherever it stopped, to a verified, complete set.

Order of writes: manifest (`running`) → parts and records → card and commit log → manifest
(`complete`) → the records go. A kill between any two of them is resumed by the same command. Only
one run may own an output at a time. Files that no record of the set names are left alone, and
refused where the set needs their names.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from base.errors import InputError, Interrupted, PrewriteError, ShardError
from base.files import Folder, resolve
from base.fingerprint import differences, fingerprint
from base.owned import OwnedFolder
from shards import commit_log
from shards.card import card
from shards.executor import RunConfig, execute
from shards.journal import Folded, Journal, fold, skipped_lines
from shards.lease import Lease
from shards.leftovers import clean, is_clean
from shards.listed import check_listed
from shards.manifest import Manifest, Status
from shards.names import CARD, FIXED, MANIFEST, RECORDS, REWRITES, SKIPPED
from shards.passes import Pass, Split, inputs
from shards.schema import FORMAT_VERSION
from shards.unchanged import changed_inputs, refuse_changed
from shards.worker import check_bad_rows

Execute = Callable[[Pass, list[Split], OwnedFolder, RunConfig], None]


def run_pass(job: Pass, output: str, run: RunConfig, execute: Execute = execute) -> Manifest:
    """Make the set at `output`, or continue it, or find it complete; returns its manifest.
    `execute` runs the tasks.

    Raises ShardError when `output` holds something made under another configuration, InputError
    for a bad corpus, EngineError for a dead engine, Interrupted after a signal.
    """
    folder = Folder(output)
    complete = finished(job, output)
    if complete and is_clean(folder, complete):
        return complete
    if not complete:
        job.source.splits()  # an empty corpus is found before anything is made
        refuse_own_input(job, folder)
    try:
        with Lease(folder) as lease:
            # Another run may have completed it, or a kill come just before its last step.
            complete = finished(job, output) or _run(job, lease.folder, run, execute)
            clean(lease.folder, complete)
            return complete
    finally:
        _tidy(folder)


def _run(job: Pass, folder: OwnedFolder, run: RunConfig, execute: Execute) -> Manifest:
    splits = job.source.splits()
    manifest = start_set(job, folder, splits)
    begun = time.monotonic()
    try:
        execute(job, splits, folder, run)
    except Interrupted:
        folded = fold(journal_of(manifest, folder), (split.name for split in splits))
        _complete(manifest, folded, splits, "interrupted")
        manifest.passes[-1].seconds += time.monotonic() - begun
        manifest.save(folder)
        raise
    except PrewriteError:
        journal = journal_of(manifest, folder)
        if journal.is_empty():
            folder.remove(MANIFEST)  # nothing was made: another configuration may start here
            journal.clear()
        raise
    manifest.passes[-1].seconds += time.monotonic() - begun
    return _finish(job, folder, manifest, splits)


def _tidy(folder: Folder) -> None:
    """Remove the folder of a local set where nothing was made."""
    if folder.is_local:
        with suppress(OSError):
            Path(folder.root).rmdir()


def journal_of(manifest: Manifest, folder: Folder) -> Journal:
    """What is committed of a set, as it is now."""
    made = manifest.passes[-1].fingerprint
    return Journal(folder, manifest.columns, made, manifest.owner)


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
        return found if found.status == "complete" else None
    if holds_rows(found, folder):
        lines = (
            changed_inputs(found.inputs, inputs(job.source.splits()))
            if last.name == job.name and len(found.passes) == 1
            else []
        )
        lines += differences({"pass": last.name, **last.config}, {"pass": job.name, **config})
        raise ShardError(
            f"{folder.url} was made under another configuration; {remedy}, or restore:\n"
            + "\n".join(f"  {line}" for line in lines)
        )
    return None


def holds_rows(found: Manifest, folder: Folder) -> bool:
    """Whether a set is more than the manifest of a run that was killed before its first commit."""
    return found.status != "running" or not journal_of(found, folder).is_empty()


def refuse_own_input(job: Pass, folder: Folder) -> None:
    """ConfigError where the set would be written over what it is made of."""
    output = _resolved(folder.url)
    for place in job.source.places():
        found = _resolved(place)
        if found == f"{output}/{REWRITES}":
            continue  # a set of its own beside the one that is made of it
        if found == output or found.startswith(f"{output}/"):
            raise InputError(
                f"output: found '{folder.url}', where the input {place} is; accepted: another "
                "folder"
            )


def _resolved(url: str) -> str:
    fs, path = resolve(url)
    return os.path.realpath(path) if Folder(url).is_local else f"{fs.protocol}:{path}".rstrip("/")


def start_set(job: Pass, folder: OwnedFolder, splits: list[Split]) -> Manifest:
    """The manifest of this run, saved: the stored one to continue, or a new one.

    ShardError where the folder holds files that have the names of a set's, but are no set's.
    """
    new = job.begin(splits)
    found = Manifest.find(folder)
    same = found and found.passes[-1].fingerprint == new.passes[-1].fingerprint
    if found and same:
        _refuse_unfinished_of_old(found, folder)
        folded = fold(journal_of(found, folder), (split.name for split in splits))
        check_listed(folder, folded.parts + folded.judgements)
        refuse_changed(found.inputs, new.inputs, folded, splits)
        if folded.every:  # from now on only these and the records of this run count
            commit_log.write(folder, folded.every, found.passes[-1].fingerprint)
        manifest = found
    else:
        _refuse_foreign(folder, found)
        manifest = new
    manifest.status, manifest.inputs = "running", new.inputs  # the corpus may have moved
    manifest.owners = [*manifest.owners, folder.owner]
    manifest.save(folder)
    return manifest


def _refuse_unfinished_of_old(found: Manifest, folder: Folder) -> None:
    if found.format_version < FORMAT_VERSION:
        raise ShardError(
            f"{folder.url}: an unfinished run of Prewrite 0.1, which this version cannot continue; "
            "choose another output"
        )


def _refuse_foreign(folder: Folder, found: Manifest | None) -> None:
    """ShardError for a file whose name a new set needs. found: the manifest of a run that has
    committed nothing; then only its marks of open documents are removed.
    """
    if found:
        journal_of(found, folder).clear()
    records = [f"{RECORDS}/"] if folder.names(RECORDS) else []
    present = [name for name in FIXED if folder.exists(name) and not (found and name == MANIFEST)]
    if foreign := present + records:
        raise ShardError(
            f"{folder.url}: found {', '.join(foreign)}, which no shard set here has written; "
            "accepted: a folder without files of these names"
        )


def _finish(job: Pass, folder: Folder, manifest: Manifest, splits: list[Split]) -> Manifest:
    folded = fold(journal_of(manifest, folder), (split.name for split in splits))
    if folded.unfinished:
        raise ShardError(f"{folder.url}: not finished: {', '.join(folded.unfinished[:5])}")
    records = sum(folded.records.values())
    check_bad_rows(len(folded.skipped), records, job.max_bad_rows, folded.skipped)
    check_listed(folder, folded.parts + folded.judgements)
    _complete(manifest, folded, splits, "complete")
    if folded.skipped:
        folder.write(SKIPPED, skipped_lines(folded.skipped))
    folder.write(CARD, card(manifest).encode())
    commit_log.write(folder, folded.every, manifest.passes[-1].fingerprint)
    manifest.save(folder)
    return manifest


def _complete(manifest: Manifest, folded: Folded, splits: list[Split], status: Status) -> None:
    """Write into the manifest what the records say."""
    folded.write_into(manifest, status)
    known = {item.path: item for item in manifest.inputs}
    for split in splits:  # several may be ranges of one file
        file, records = known.get(split.path), folded.records.get(split.name)
        if file and records is not None:
            file.records = (file.records or 0) + records
            file.sha256 = folded.sha256.get(split.name) or file.sha256
