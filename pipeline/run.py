"""Run one pass from its start, or from wherever it stopped, to a verified, complete set.

Order of writes: manifest (`running`) → parts and records → card and commit log → manifest
(`complete`) → the records go. A kill between any two of them is resumed by the same command. Only
one run may own an output at a time. Files that no record of the set names are left alone, and
refused where the set needs their names.
"""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prewrite.base.errors import EngineError, InputError, Interrupted, PrewriteError, ShardError
from prewrite.base.files import Folder, resolve
from prewrite.base.fingerprint import differences, fingerprint, other_configuration
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.executor.choose import execute
from prewrite.pipeline.limit import check_failed, to_repeat
from prewrite.pipeline.loop import check_bad_rows
from prewrite.pipeline.passes import Pass, Split, inputs
from prewrite.pipeline.tasks import slices
from prewrite.pipeline.unchanged import changed_inputs, refuse_changed, refuse_exchanged
from prewrite.shards import flat, log
from prewrite.shards.card import card
from prewrite.shards.commit_log import CommitLog, commit_log_of
from prewrite.shards.leftovers import clean, is_clean, strays
from prewrite.shards.listed import check_listed, check_there
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, SetStatus
from prewrite.shards.merge import apart, merge, to_merge
from prewrite.shards.names import CARD, FOLDERS, LOG, MANIFEST, RECORDS, REWRITES, SKIPPED
from prewrite.shards.occupied import refuse_taken
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import emptied
from prewrite.shards.schema import FORMAT_VERSION
from prewrite.shards.summary import CommitSummary, fold, skipped_lines

Execute = Callable[[Pass, list[Split], OwnedFolder, RunConfig], None]


def run_pass(job: Pass, output: str, run: RunConfig, execute: Execute = execute) -> Manifest:
    """Make the set at `output`, or continue it, or find it complete; returns its manifest.
    `execute` runs the tasks.

    Raises ConfigError when `output` holds something made under another configuration, InputError
    for a bad corpus, EngineError for a dead engine, Interrupted after a signal.
    """
    folder = Folder(output)
    complete = finished(job, output)
    if complete:
        check_there(folder, _files(output))
        if is_clean(folder, complete):
            return complete
    if not complete:
        _refuse_own_input(job.source.splits(), folder)  # an empty corpus is found here, too
    try:
        with OutputLock(folder) as lock:
            # Another run may have completed it, or a kill come just before its last step.
            complete = finished(job, output) or _run(job, lock.folder, run, execute)
            clean(lock.folder, complete)
            return complete
    finally:
        _tidy(folder)


def _files(url: str) -> list[Part]:
    """All parts of a set."""
    shards = ShardSet(url)
    return [*shards.parts, *shards.verdicts]


def _run(job: Pass, folder: OwnedFolder, run: RunConfig, execute: Execute) -> Manifest:
    splits = job.source.splits()
    # The step that finishes a set only looks; its first step marks what is to be made again.
    manifest = start_set(job, folder, splits, 1.0 if run.step else run.max_failed)
    begun = time.monotonic()
    try:
        execute(job, splits, folder, run)
    except Interrupted:
        summary = fold(commit_log_of(manifest, folder), (split.name for split in splits))
        _end(folder, manifest, summary, splits, "interrupted")
        manifest.passes[-1].seconds += time.monotonic() - begun
        manifest.save(folder)
        raise
    except PrewriteError:
        commit_log = commit_log_of(manifest, folder)
        if commit_log.is_empty():
            for name in strays(folder, manifest):
                folder.remove(name)
            commit_log.clear()  # before the manifest, which says whose the marks are
            folder.remove(MANIFEST)  # nothing was made: another configuration may start here
        raise
    manifest.passes[-1].seconds += time.monotonic() - begun
    return _finish(job, folder, manifest, splits, run)


def _tidy(folder: Folder) -> None:
    """Remove the folders of a local set where nothing was made."""
    for name in (RECORDS, LOG, *FOLDERS, "") if folder.is_local else ():
        with suppress(OSError):
            Path(folder.path(name)).rmdir()


def finished(job: Pass, output: str, remedy: str = "choose another output") -> Manifest | None:
    """The manifest at `output` when this very pass has completed it; refuses another's set, and
    says what to do instead: `remedy`.
    """
    folder = Folder(output)
    found = Manifest.find(folder)
    if found is None:
        return None
    last, config = found.passes[-1], job.identity()
    if last.fingerprint == fingerprint(config) and last.name == job.name:
        if found.status != "complete" and found.flat:
            raise ShardError(
                f"{folder.url}: found an unfinished run of {flat.WHAT}; accepted: format "
                f"{FORMAT_VERSION}; finish it with the version of Prewrite that began it, or "
                f"{remedy}"
            )
        return found if found.status == "complete" else None
    if holds_rows(found, folder):
        lines = (
            changed_inputs(found.inputs, inputs(job.source.splits()))
            if last.name == job.name and len(found.passes) == 1
            else []
        )
        lines += differences({"pass": last.name, **last.config}, {"pass": job.name, **config})
        raise other_configuration(folder.url, lines, remedy)
    return None


def holds_rows(found: Manifest, folder: Folder) -> bool:
    """Whether a set is more than the manifest of a run that was killed before its first commit."""
    ended = found.status != "running" or found.flat is not None
    return ended or not commit_log_of(found, folder).is_empty()


def _refuse_own_input(splits: list[Split], folder: Folder) -> None:
    """InputError where the set would be written over what it is made of."""
    output = _resolved(folder.url)
    for path in dict.fromkeys(split.path for split in splits):
        inside = _resolved(path).removeprefix(f"{output}/")
        # The rewrites are a set of their own beside the one that is made of them.
        if inside != _resolved(path) and not inside.startswith(
            (f"{REWRITES}/", f"{flat.REWRITES}/")
        ):
            raise InputError(
                f"output: found '{folder.url}', where the input {path} is; accepted: another folder"
            )


def _resolved(url: str) -> str:
    fs, path = resolve(url)
    return os.path.realpath(path) if Folder(url).is_local else f"{fs.protocol}:{path}".rstrip("/")


def start_set(job: Pass, folder: OwnedFolder, splits: list[Split], max_failed: float) -> Manifest:
    """The manifest of this run, saved: the stored one to continue, or a new one. Of one in which
    more than the share `max_failed` of the rows failed, those parts are to be made again.

    ShardError where the folder holds files that have the names of a set's, but are no set's.
    """
    new = job.begin(splits)
    found = Manifest.find(folder)
    same = found and found.passes[-1].fingerprint == new.passes[-1].fingerprint
    if found and same:
        summary = fold(commit_log_of(found, folder), (split.name for split in splits))
        check_listed(folder, summary.parts + summary.judgements)
        refuse_changed(found.inputs, new.inputs, summary, splits, job.source)
        again = {(r.split, r.block) for r in to_repeat(summary.every, max_failed)}
        records = [emptied(r) if (r.split, r.block) in again else r for r in summary.every]
        manifest = found
        # Under the name of an owner that the manifest names already, should a kill come now.
        manifest.log = log.write(folder, records, CommitLog(folder, found).token())
    else:
        _refuse_foreign(folder, found)
        manifest = new
    manifest.status, manifest.inputs = "running", new.inputs  # the corpus may have moved
    # From now on only what the log lists, and the records of this run, count.
    manifest.owners = [*(found.owners if found else ()), folder.owner]
    manifest.save(folder)
    return manifest


def _refuse_foreign(folder: Folder, found: Manifest | None) -> None:
    """ShardError for a file whose name a new set needs. found: the manifest of a run that has
    committed nothing; then only its marks of open documents are removed.
    """
    if found:
        commit_log_of(found, folder).clear()
    refuse_taken(folder, besides=[MANIFEST] if found else [])


def _finish(
    job: Pass, folder: OwnedFolder, manifest: Manifest, splits: list[Split], run: RunConfig
) -> Manifest:
    summary = fold(commit_log_of(manifest, folder), (split.name for split in splits))
    if _merge_left(folder, manifest, summary, splits, run.tasks):
        summary = fold(commit_log_of(manifest, folder), (split.name for split in splits))
    if summary.unfinished:
        raise ShardError(f"{folder.url}: not finished: {', '.join(summary.unfinished[:5])}")
    records = sum(summary.records.values())
    check_bad_rows(len(summary.skipped), records, job.max_bad_rows, summary.skipped)
    check_listed(folder, summary.parts + summary.judgements)
    refuse_exchanged(summary, splits)
    try:
        check_failed(job.name, summary.facts.tally, run.max_failed)
    except EngineError:
        _end(folder, manifest, summary, splits, "interrupted")  # so that it can be looked at
        manifest.save(folder)
        raise
    _end(folder, manifest, summary, splits, "complete")
    if summary.skipped:
        folder.write(SKIPPED, skipped_lines(summary.skipped))
    folder.write(CARD, card(manifest).encode())
    manifest.save(folder)
    return manifest


def _merge_left(
    folder: OwnedFolder,
    manifest: Manifest,
    summary: CommitSummary,
    splits: list[Split],
    tasks: int,
) -> bool:
    """Merge what killed tasks have left in small files; whether there was any."""
    commit_log, found = commit_log_of(manifest, folder), False
    for mine in slices(splits, tasks):
        names = {split.name for split in mine}
        for some in to_merge([record for record in summary.every if record.split in names]):
            for alike in apart(folder, some):
                found |= merge(commit_log, folder, alike) != alike
    return found


def _end(
    folder: OwnedFolder,
    manifest: Manifest,
    summary: CommitSummary,
    splits: list[Split],
    status: SetStatus,
) -> None:
    """Write the log, and into the manifest what the records say."""
    manifest.log = log.write(folder, summary.every, folder.owner + secrets.token_hex(2))
    summary.write_into(manifest, status)
    known = {item.path: item for item in manifest.inputs}
    for split in splits:  # several may be ranges of one file
        file, records = known.get(split.path), summary.records.get(split.name)
        if file and records is not None:
            file.records = (file.records or 0) + records
            file.sha256 = summary.sha256.get(split.name) or file.sha256
