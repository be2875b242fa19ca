"""The shell blocks of the docs, and how one of their commands is run.

A block under `<!-- not run: REASON -->` is not run as it stands. Every other is run line by line,
as a reader would type it. `prewrite NAME …` without anything for the shell runs in this process, so
that model and libraries are loaded once; `make TARGET …` is first asked what it would run. What has
a pipe, a redirection or another program in it goes to a real shell.
"""

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from prewrite.commands import main
from tests.train import launch, small

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?:<!-- not run: ([^\n]+) -->\n)?```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"(?:\.venv/bin/)?(?:python -m )?prewrite ")
_SHELL = re.compile(r"[|<>;&$`]")


@dataclass(frozen=True)
class Block:
    """One block of a page; `mark` says why it is not run."""

    page: str
    line: int
    mark: str | None
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    text: str


def blocks(path: Path) -> list[Block]:
    """Every block of a page."""
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    return [
        Block(name, text.count("\n", 0, found.start(2)), found[1], commands(found[2]))
        for found in _BLOCK.finditer(text)
    ]


def commands(text: str) -> tuple[str, ...]:
    """The commands of a block: lines that go on are joined, comments and empty lines are gone."""
    lines = text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s)#\s.*$", "", line) for line in lines)
    return tuple(" ".join(line.split()) for line in bare if line.strip())


def run(command: str, folder: Path) -> Done:
    """Run it in `folder`, in this process where that can be."""
    if _SHELL.search(unquoted(command)):
        return shell(command, folder)
    if command.startswith("make "):
        lines = shell(f"make -n {command.removeprefix('make ')}", folder)
        *_, line = lines.text.strip().splitlines() or [""]
        return run(line, folder) if lines.code == 0 and _COMMAND.match(line) else lines
    if found := _COMMAND.match(command):
        name, *words = shlex.split(command[found.end() :])
        if name == "train" and words[0] not in ("report", "export"):
            return _apart(words, folder)
        return _here([name, *words], folder)
    return shell(command, folder)


def unquoted(command: str) -> str:
    """What the shell would look at."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "", command)


def environment() -> dict[str, str]:
    """This process's, without what the make of `make test` hands to a make below it."""
    passed_on = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    return {name: value for name, value in os.environ.items() if name not in passed_on}


def shell(command: str, folder: Path) -> Done:
    """Run it as a person would."""
    path = f"{folder}/.venv/bin:{os.environ['PATH']}"
    env = {**environment(), "PATH": path, "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return Done(done.returncode, done.stdout + done.stderr)


def _here(words: list[str], folder: Path) -> Done:
    said = io.StringIO()
    before, sys.path[:] = Path.cwd(), [str(folder), *sys.path]
    os.chdir(folder)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            try:
                code = main(words)
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))
    return Done(code, said.getvalue())


def _apart(words: list[str], folder: Path) -> Done:
    """`prewrite train`: groups of processes are state of a process."""
    said = folder / "said.log"
    said.unlink(missing_ok=True)
    process = launch.FORKS.Process(target=_train, args=(words, folder, said))
    process.start()
    process.join(280)
    assert process.exitcode is not None, f"{words} still run"
    return Done(process.exitcode, said.read_text())


def _train(words: list[str], folder: Path, said: Path) -> None:
    os.chdir(folder)
    small._main(words, {}, said)
