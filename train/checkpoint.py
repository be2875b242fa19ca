"""Checkpoints: `checkpoints/step-00000100/` and `latest`, which names the newest whole one.

Tensors go through `megatron.core.dist_checkpointing`, so a run may go on with another tensor,
pipeline or data parallel size; everything else is `state.json`. Guarantee: a checkpoint is written
under a temporary name, renamed when the tensors of every rank are on disk, and only then does
`latest` move: whenever the processes die, `latest` names a whole checkpoint. Cost: training waits
for the copy of its tensors, and asynchronously for no more than that.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue
from pydantic import ValidationError
from torch.distributed.checkpoint.api import CheckpointException

from base.errors import ShardError
from base.files import Folder, sync
from train.config import CheckpointConfig
from train.learner import Learner
from train.parallel import is_main
from train.state import State

LATEST, STATE = "latest", "state.json"
_METADATA = {"distrib_optim_sharding_type": "fully_reshardable"}  # any parallel size reads it


class Checkpoints:
    """The checkpoints of the run in `output`; every method is called by every rank together."""

    def __init__(self, output: str, config: CheckpointConfig) -> None:
        self.root = Path(output) / "checkpoints"
        self.keep = config.keep
        self._queue = AsyncCallsQueue() if config.asynchronous else None

    def clean(self, state: State | None) -> None:
        """Remove what processes that were killed left behind; `state` is what `find` found."""
        if is_main():
            for partial in self.root.glob(".*.partial"):
                shutil.rmtree(partial, ignore_errors=True)
            if state:
                self._remove_old(_name(state))
        torch.distributed.barrier()

    def save(self, learner: Learner, state: State) -> None:
        """Write the checkpoint of `state.step`; returns early when asynchronous."""
        self.finish()
        partial = self.root / f".{_name(state)}.partial"
        if is_main():
            partial.mkdir(parents=True)
        torch.distributed.barrier()
        tensors = _tensors(learner, loading=False)
        request = dist_checkpointing.save(
            tensors,
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
        if self._queue:
            self._queue.maybe_finalize_async_calls(blocking=False)

    def finish(self) -> None:
        """Wait for what is being written."""
        if self._queue:
            self._queue.maybe_finalize_async_calls(blocking=True)

    def close(self) -> None:
        """Wait for this process's own writer, without the others: one of them may have failed."""
        for call in self._queue.async_calls if self._queue else ():
            call.async_caller.close()

    def find(self) -> State | None:
        """The state of the newest whole checkpoint, or None when the run has none."""
        name = Folder(str(self.root)).read(LATEST)
        if name is None:
            return None
        path = self.root / name.decode().strip() / STATE
        try:
            return State.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ShardError(f"{path}: missing, but {self.root / LATEST} names it") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ShardError(f"{path}: damaged: {key}{': ' if key else ''}{first['msg']}") from None

    def load(self, learner: Learner, state: State) -> None:
        """Fill `learner` from the checkpoint of `state`."""
        path = self.root / _name(state)
        try:
            loaded = dist_checkpointing.load(_tensors(learner, loading=True), str(path))
        except (CheckpointException, CheckpointingException) as error:
            last = str(error).strip().splitlines()[-1]
            raise ShardError(f"{path}: cannot be loaded: {last}") from None
        learner.model.load_state_dict(loaded["model"])
        learner.optimizer.load_state_dict(loaded["optimizer"])

    def _publish(self, partial: Path, state: State) -> None:
        name = _name(state)
        if is_main():
            (partial / STATE).write_text(state.model_dump_json(indent=1) + "\n")
            for file in partial.iterdir():
                sync(file)
            sync(partial)
            shutil.rmtree(self.root / name, ignore_errors=True)  # of a run that went on differently
            os.replace(partial, self.root / name)
            sync(self.root)
            Folder(str(self.root)).write(LATEST, f"{name}\n".encode())
            self._remove_old(name)
        torch.distributed.barrier()

    def _remove_old(self, latest: str) -> None:
        for old in sorted(self.root.glob("step-*"))[: -self.keep]:
            if old.name != latest:
                shutil.rmtree(old)


def _name(state: State) -> str:
    return f"step-{state.step:08d}"


def _tensors(learner: Learner, loading: bool) -> dict[str, Any]:
    model = learner.model.sharded_state_dict()
    optimizer = learner.optimizer.sharded_state_dict(
        model, is_loading=loading, metadata=dict(_METADATA)
    )
    return {"model": model, "optimizer": optimizer}
