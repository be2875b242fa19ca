"""The commands as functions of their words, in the process of a test; each gives its exit code."""

from collections.abc import Callable, Sequence

from prewrite.commands import main


def _command(name: str) -> Callable[[Sequence[str]], int]:
    return lambda words: main([*name.split(), *words])


rewrite, judge, shards = _command("rewrite"), _command("judge"), _command("shards")
train, evaluate, ablation = _command("train"), _command("evaluate"), _command("ablation")
plan, report = _command("plan"), _command("shards report")
reproduce, improve = _command("reproduce"), _command("improve")
