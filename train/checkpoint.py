"""Checkpoints: `checkpoints/step-00000100/` and `latest`, which names the newest whole one.

Tensors go through `megatron.core.dist_checkpointing`, so a run may go on with another tensor,
pipeline or data parallel size; everything else is `state.json`, which holds the digests of all
files, too. Guarantees: a checkpoint appears whole or not at all, and only then does `latest` move,
so whenever the processes die, `latest` names a whole checkpoint. Nothing is loaded before all of it
is known to be as it was written; a damaged one is named, and the newest whole one before it taken.
Cost: training waits for the copy of its tensors, and asynchronously for no more than that; a start
reads the checkpoint once more than it loads it.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue
from torch.distributed.checkpoint.api import CheckpointException

from prewrite.base.cli import console
from prewrite.base.errors import ShardError
from prewrite.base.files import leads_out, opened, sync
from prewrite.train import digests, parallel, saved
from prewrite.train.config.sections import CheckpointConfig
from prewrite.train.learner import Learner
from prewrite.train.names import CHECKPOINTS
from prewrite.train.output import Output
from prewrite.train.saved import LATEST, STATE, Saved
from prewrite.train.state import FileDigest, State
from prewrite.train.unpickle import guarded

_METADATA = {"distrib_optim_sharding_type": "fully_reshardable"}  # any parallel size reads it
_LONGEST = 1 << 10  # bytes of `latest` that are looked at
_SYSTEM = re.compile(r"\[Errno \d+\] ([^:\n]+)")
# It prints what the sentence of an error says, too.
logging.getLogger(filesystem_async.__name__).disabled = True


class Checkpoints:
    """The checkpoints of the run that holds `output`; all ranks call every method together.

    Raises ShardError when one cannot be written, or none can be read.
    """

    def __init__(self, output: Output, config: CheckpointConfig) -> None:
        self.root = output.root / CHECKPOINTS
        self.keep = config.keep
        self._output = output
        self._queue = AsyncCallsQueue() if config.asynchronous else None
        self._faults: list[str] = []

    def clean(self, state: State | None) -> None:
        """Remove what is older than `keep` says; `state` is what the run goes on from."""
        if parallel.is_main() and state:
            self._remove_old(state.step)
        parallel.barrier()

    def save(self, learner: Learner, state: State) -> None:
        """Write the checkpoint of `state.step`; returns early when asynchronous."""
        self.finish()
        partial = parallel.by_main(lambda: self._begun(state))
        with self._told():
            request = dist_checkpointing.save(
                _tensors(learner, loading=False),
                str(partial),
                async_sharded_save=self._queue is not None,
                content_metadata=_METADATA,
            )
        if self._queue is None:
            self._publish(partial, state)
        else:
            request.add_finalize_fn(lambda: self._publish(partial, state))
            self._queue.schedule_async_request(request)

    def poll(self) -> None:
        """Publish what has been written meanwhile."""
        self._finalize(blocking=False)

    def finish(self) -> None:
        """Wait for what is being written."""
        self._finalize(blocking=True)

    def close(self) -> None:
        """Wait for this process's own writer, without the others: one of them may have failed."""
        for call in self._queue.async_calls if self._queue else ():
            call.async_caller.close()

    def find(self, below: int | None = None) -> Saved | None:
        """The newest checkpoint whose state can be read, of a step before `below`; None when there
        is none at all. Its tensors are not looked at: see `whole`.
        """
        return parallel.by_main(lambda: self._find(below))

    def whole(self, found: Saved | None) -> Saved | None:
        """`found`, or where a file of it is damaged the newest whole one before it; says so."""
        while found and (faults := digests.faults(self._path(found), found.files)):
            self._faults.append(f"{self._path(found)}: damaged: {'; '.join(faults)}")
            found = self.find(found.step)
        if found:
            self.tell(found)
        return found

    def tell(self, found: Saved) -> None:
        """Say what was damaged, and that `found` is taken instead; what in it is not its own."""
        if not parallel.is_main():
            return
        path = self._path(found)
        if self._faults:
            faults, self._faults = "; ".join(self._faults), []
            console.print(
                f"{faults}; going on from {path.name}, the newest that is whole", soft_wrap=True
            )
        for file in path.iterdir():
            if file.name not in {STATE, *found.files}:
                console.print(f"{file}: not of this checkpoint; it is not read", soft_wrap=True)

    def load(self, learner: Learner, state: Saved) -> None:
        """Fill `learner` from the checkpoint of `state`, which is whole."""
        path = self._path(state)
        try:
            with guarded(state.files):
                loaded = dist_checkpointing.load(_tensors(learner, loading=True), str(path))
            learner.model.load_state_dict(loaded["model"])
            learner.optimizer.load_state_dict(loaded["optimizer"])
        except (Exception, CheckpointException) as error:  # it may hold anything
            raise ShardError(f"{path}: cannot be loaded: {_reason(error)}") from None

    def oldest(self) -> int:
        """The step of the oldest checkpoint that stays; 0 when there is none."""
        return parallel.by_main(lambda: min(saved.steps(self.root), default=0))

    def _path(self, state: State) -> Path:
        return self.root / saved.name_of(state.step)

    def _begun(self, state: State) -> Path:
        """An empty folder that no run reads."""
        self._output.check()
        partial = self._output.scratch / f"{saved.name_of(state.step)}.partial"
        with self._output.told(partial):
            partial.mkdir()
        return partial

    def _finalize(self, blocking: bool) -> None:
        if self._queue:
            with self._told():
                self._queue.maybe_finalize_async_calls(blocking=blocking)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """One sentence where the disk is why Megatron could not write."""
        try:
            yield
        except CheckpointException as error:  # in all processes; the main one knows why
            mine = _reason(error)
            reason = parallel.by_main(lambda: mine)
        except (OSError, RuntimeError) as error:
            self._output.check()
            refused = _refusal(self._output.new())
            if not (refused or isinstance(error, OSError)):
                raise
            reason = refused or _reason(error)
        else:
            return
        raise ShardError(f"{self.root}: cannot write a checkpoint: {reason}")

    def _publish(self, partial: Path, state: State) -> None:
        found = parallel.collect(digests.taken(partial))
        if parallel.is_main():
            with self._output.told(partial):
                self._complete(partial, state, found)
            name = saved.name_of(state.step)
            self._output.publish(partial, f"{CHECKPOINTS}/{name}", saved.is_ours)
            if (self.root / LATEST).is_dir():
                self._output.discard(f"{CHECKPOINTS}/{LATEST}")
            self._output.folder(CHECKPOINTS).write(LATEST, f"{name}\n".encode())
            self._remove_later(state.step)
            self._remove_old(state.step)
        parallel.barrier()

    def _complete(
        self, partial: Path, state: State, found: Sequence[Mapping[str, FileDigest]]
    ) -> None:
        """Put the state and the digests that the ranks have `found` beside the tensors."""
        files = {name: file for some in found for name, file in some.items()}
        files |= {name: digests.digest(partial / name) for name in saved.ALWAYS}
        (partial / STATE).write_text(saved.text_of(state, files), encoding="utf-8")
        for file in filter(lambda file: saved.is_ours(file.name), partial.iterdir()):
            if file.name not in {STATE, *files}:
                raise ShardError(f"{file}: written without a digest")
            sync(file)
        sync(partial)

    def _remove_later(self, step: int) -> None:
        """Remove what a run left that went on differently from an earlier step."""
        self._remove(later for later in saved.steps(self.root) if later > step)

    def _remove_old(self, step: int) -> None:
        self._remove([old for old in saved.steps(self.root) if old <= step][self.keep :])

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            self._output.discard(f"{CHECKPOINTS}/{saved.name_of(step)}", saved.is_ours)

    def _find(self, below: int | None) -> Saved | None:
        there = saved.steps(self.root)
        if below is None:
            below = self._first(there)
        for step in there:
            path = self.root / saved.name_of(step)
            if below is not None and step >= below:
                continue
            try:
                return saved.read(path)
            except saved.Damaged as fault:
                self._faults.append(f"{path}: damaged: {fault}")
        if self._faults:
            raise ShardError(f"{'; '.join(self._faults)}; accepted: a whole one, and none is left")
        return None

    def _first(self, there: Sequence[int]) -> int | None:
        """The step before which the newest checkpoint is to be sought, by `latest`; None: any."""
        file = self.root / LATEST
        if real := leads_out(file, self.root):
            self._faults.append(f"{file}: found a link to {real}, out of the checkpoints")
            return None
        try:
            with opened(file) as stream:
                name = stream.read(_LONGEST).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            if there:
                self._faults.append(f"{file}: missing")
            return None
        except OSError as error:
            self._faults.append(f"{file}: {error.strerror}")
            return None
        step = saved.step_of(name)
        if step is None or step not in there:
            self._faults.append(
                f"{file}: found {name[:40]!r}; accepted: the name of a folder beside it"
            )
            return None
        return step + 1


def _refusal(path: Path) -> str | None:
    """Why the disk takes no file at `path`; None where it takes one."""
    try:
        path.write_bytes(bytes(1 << 16))
    except OSError as error:
        return error.strerror
    finally:
        with suppress(OSError):
            path.unlink()
    return None


def _reason(error: BaseException) -> str:
    """What is wrong, in the words of the error that came first."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip() or type(error).__name__
    if text.startswith("Weights only load failed"):  # and torch says how to load it nevertheless
        named = re.search(r"GLOBAL ([\w.]+)", text)
        text = (
            f"it names {named[1]}, which no checkpoint does" if named else "it is no checkpoint's"
        )
    of_system = _SYSTEM.search(text)
    return of_system[1] if of_system else text.splitlines()[-1][:300]


def _tensors(learner: Learner, loading: bool) -> dict[str, Any]:
    model = learner.model.sharded_state_dict()
    optimizer = learner.optimizer.sharded_state_dict(
        model, is_loading=loading, metadata=dict(_METADATA)
    )
    return {"model": model, "optimizer": optimizer}
