"""A run in steps, each a command of its own, for a scheduler that starts commands on many machines.

The steps of a pass: `PASS:start` writes its manifest; `PASS:0` … `PASS:N-1` (N = `run.tasks`) do
the work, in any order, at the same time or not; `PASS:finish` makes the set complete when all tasks
have ended, else names those that have not, and starts the pass after it. Every step may be
repeated: what is committed stays. No two commands may run the same task at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.executor.local import run_here
from prewrite.pipeline.passes import Pass, Split
from prewrite.pipeline.run import finished, run_pass, start_set
from prewrite.pipeline.tasks import PassTasks, is_done, slices
from prewrite.shards import names
from prewrite.shards.commit_log import commit_log_of
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest


@dataclass(frozen=True)
class PlannedPass:
    """A pass, and where its set goes. known: what its tasks need not find out again."""

    job: Pass
    output: str
    known: Callable[[], bytes] | None = None


def run_step(step: str, stages: Sequence[PlannedPass], run: RunConfig) -> None:
    """Do one step of `stages`; ConfigError when there is no such step."""
    name, _, what = step.partition(":")
    number = next((n for n, stage in enumerate(stages) if stage.job.name == name), None)
    known = what in ("start", "finish") or (what.isdecimal() and int(what) < run.tasks)
    if number is None or not known:
        names = " or ".join(stage.job.name for stage in stages)
        raise ConfigError(
            f"run.step: found '{step}'; accepted: PASS:start, PASS:0 to PASS:{run.tasks - 1} "
            f"(run.tasks), PASS:finish, with PASS = {names}"
        )
    if what == "start":
        start(stages[number], run)
    elif what == "finish":
        manifest = run_pass(stages[number].job, stages[number].output, run, _all_have_ended)
        print(f"{stages[number].output}: complete, {manifest.rows} rows")
        for stage in stages[number + 1 : number + 2]:
            start(stage, run)
    else:
        _run_task(stages[number], int(what), run)


def start(stage: PlannedPass, run: RunConfig) -> None:
    """Write the manifest of a pass that is not complete; a set of another pass is refused."""
    if not finished(stage.job, stage.output):
        with OutputLock(Folder(stage.output)) as lock:
            start_set(stage.job, lock.folder, stage.job.source.splits(), run.max_failed)
            if stage.known:
                lock.folder.write(names.SPLITS, stage.known())


def unfinished(job: Pass, splits: list[Split], output: str, tasks: int) -> list[int]:
    """The tasks, of so many, that have something left to do."""
    folder = Folder(output)
    found = Manifest.find(folder)
    if found is None:
        return [rank for rank, mine in enumerate(slices(splits, tasks)) if mine]
    commit_log = commit_log_of(found, folder)
    return [
        rank
        for rank, mine in enumerate(slices(splits, tasks))
        if not all(is_done(commit_log, split) for split in mine)
    ]


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as `0-3,7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _run_task(stage: PlannedPass, rank: int, run: RunConfig) -> None:
    if finished(stage.job, stage.output):
        return
    folder = Folder(stage.output)
    manifest = Manifest.find(folder)
    if manifest is None:
        name = stage.job.name
        raise ShardError(
            f"{stage.output}: {name} was not started; run it with run.step={name}:start"
        )
    splits = stage.job.source.splits()
    with OutputLock(folder, names.task_lock(rank), manifest.owner) as lock:
        run_here(PassTasks(stage.job, splits, lock.folder, run), [rank], 1)


def _all_have_ended(job: Pass, splits: list[Split], folder: OwnedFolder, run: RunConfig) -> None:
    left = unfinished(job, splits, folder.url, run.tasks)
    if left:
        raise ShardError(
            f"{folder.url}: {len(left)} of {run.tasks} tasks of {job.name} have not ended: "
            f"{ranges(left)}; run the first command again: it continues them"
        )
