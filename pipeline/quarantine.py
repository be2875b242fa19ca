"""Finds the document that kills its worker, and leaves it alone.

Before a worker opens documents it writes into `commits/<split>.open` how far it will go. However it
ends, if it can, it says that nothing is open any more; a worker that is killed cannot. The next one
then knows that it died, and which documents were open. The first time it goes on as before: most
deaths are no document's fault. From the second on it opens a sixteenth of them at a time and
commits, so that each death leaves a sixteenth under suspicion, and in the end one document. One
that was alone in the worker when it died, twice, is abandoned: it is not opened again.

Where the command died with its worker, a machine may have been switched off. So the latest death
must be one that its command has outlived: then the mark is of the command that is running now. One
that nobody has outlived must happen `_UNSEEN` times.
Cost: a small write for every 16, 32, … `_FAR` documents.
"""

from prewrite.base.errors import EngineError
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.manifest import Opened, Record

_NEAR, _FAR = 16, 512  # documents a mark reaches ahead: at the start of a split, and at most
_SHARE = 16  # a part of the suspected documents is opened at a time
_ALONE = 3  # deaths on one document; in all but the first it was alone
_UNSEEN = 10  # the same where the command died, too
_IN_A_ROW = 2  # abandoned documents side by side; that every third kills, too, is no chance


class Quarantine:
    """The documents of one split that may be open. `committed`: records of it that are safe;
    `command`: a name for the command that runs now, the same in all its workers; `turn`: that of
    the records of this worker.
    """

    def __init__(
        self, commit_log: CommitLog, split: str, done: list[Record], command: str, turn: int = 0
    ) -> None:
        self.commit_log, self.split, self.done, self.command = commit_log, split, done, command
        self.turn = turn
        self.committed = self._began = done[-1].stop if done else 0
        found = commit_log.opened(split) or Opened(committed=0, stop=0)
        self.died = found.died
        self._stop, self._until, self._deaths = self.committed, self.committed, 0
        if found.stop > self.committed:
            self.died += 1
            self._until = found.stop
            self._deaths = found.deaths + 1 if found.committed == self.committed else 1
        suspected = self._until - self.committed
        self._step = max(1, -(-suspected // _SHARE)) if self._deaths > 1 else 0
        enough = _ALONE if found.command == command else _UNSEEN
        self._abandoned = suspected == 1 and self._deaths >= enough
        self._ahead = _NEAR

    @property
    def next_is_suspected(self) -> bool:
        """Whether the next documents are suspected."""
        return self.careful(self.committed)

    def careful(self, position: int) -> bool:
        """Whether only a few documents from `position` on may be open, and nothing else."""
        return self._step > 0 and position < self._until

    def ends(self, position: int) -> bool:
        """Whether what is open must be committed before the document at `position` is opened."""
        return self._step > 0 and position == self._stop <= self._until

    def abandoned(self, position: int) -> bool:
        """Whether the document at `position` must not be opened; EngineError where its neighbours
        were abandoned, too: then no document is at fault.
        """
        if not self._abandoned or position != self._began:
            return False
        latest = self.done[-_IN_A_ROW:]
        if len(latest) == _IN_A_ROW and all(r.abandoned and r.documents == 1 for r in latest):
            raise EngineError(
                f"{_IN_A_ROW + 1} documents in a row killed every worker that opened them (split "
                f"{self.split}, records {position - _IN_A_ROW}..{position}); it is the machine or "
                "the model; run the same command once it is mended"
            )
        self._stop = position + 1  # it is committed alone
        return True

    def must_mark(self, position: int) -> bool:
        """Whether `mark` must be called before the document at `position` is opened."""
        return position >= self._stop

    def mark(self, position: int) -> None:
        """Write down that documents from `position` on will be open."""
        if self.careful(position):
            self._stop = min(position + self._step, self._until)
            deaths = self._deaths if self._until - self._began == 1 else 1
        else:
            self._stop, self._ahead = position + self._ahead, min(2 * self._ahead, _FAR)
            deaths = self._deaths if self.committed == self._began else 0
        self._write(self._stop, deaths)

    def close(self) -> None:
        """Write down that nothing is open."""
        if max(self._stop, self._until) > self.committed:
            self._write(self.committed, 0)

    def _write(self, stop: int, deaths: int) -> None:
        self.commit_log.open(
            self.split,
            Opened(
                committed=self.committed,
                stop=stop,
                deaths=deaths,
                died=self.died,
                command=self.command,
                turn=self.turn,
            ),
        )


def is_suspected(commit_log: CommitLog, split: str) -> bool:
    """Whether the next worker on a split has to be careful; one read where nobody died."""
    found = commit_log.opened(split)
    if found is None or not found.deaths:
        return False
    return Quarantine(commit_log, split, commit_log.records(split), "").next_is_suspected
