"""System calls of a command that change a folder, by strace, beside the steps that Python saw.

`tests.faults.steps` sees what Python calls. A library that writes by itself would be missed, so the
same commands run once more in a process that strace watches, and both are counted by kind.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.faults import tiny
from tests.faults.apart import results
from tests.faults.forks import make_ready
from tests.faults.kill_states import COMMANDS, STATES
from tests.faults.steps import watched

_KINDS = {
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("link", "linkat"), "link"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **dict.fromkeys(("unlink", "unlinkat"), "unlink"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("open", "openat", "openat2", "creat"), "open"),
    **dict.fromkeys(("fsync", "fdatasync", "sync_file_range"), "fsync"),
    **dict.fromkeys(("truncate", "ftruncate", "fallocate"), "truncate"),
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), "write"),
    **dict.fromkeys(("sendfile", "copy_file_range", "splice"), "write"),
    "rmdir": "rmdir",
}
_CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)")
_PATH = re.compile(r'(?:\b(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"|\d+<([^>]*)>')


def available() -> bool:
    """Whether there is an strace that may trace."""
    if not shutil.which("strace"):
        return False
    return not subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode


def traced(base: Path) -> dict[str, tuple[Counter[str], Counter[str]]]:
    """By state, laid out in `base`: the steps of its command that Python saw, and its system calls
    that strace saw in the same process.
    """
    folder, log = base / "traced", base / "strace"
    for state in STATES:
        shutil.copytree(base / state.name, folder / state.name)
    names = ",".join(f"?{name}" for name in sorted(_KINDS))
    before = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", str(log), "-e", f"trace={names}"]
    (seen,) = results("trace", [folder], before=before)
    calls = counted(log.read_text(errors="replace").splitlines(), str(folder))
    return {state.name: (Counter(seen[state.name]), calls[state.name]) for state in STATES}


def counted(lines: list[str], folder: str) -> dict[str, Counter[str]]:
    """The calls of a trace by the first name of their path below `folder`, and by kind."""
    found = {state.name: Counter[str]() for state in STATES}
    for line in lines:
        match = _CALL.match(line)
        if not match or not (kind := _kind(*match.groups())):
            continue
        paths = [held or os.path.join(base or "/", name) for base, name, held in _paths(match[2])]
        inside = [path[len(folder) + 1 :] for path in paths if path.startswith(f"{folder}/")]
        if inside:
            found[inside[0].partition("/")[0]][kind] += 1
    return found


def _paths(arguments: str) -> list[tuple[str, str, str]]:
    """(open folder, path relative to it, open file) of each path of a call; some are empty."""
    return [match.groups(default="") for match in _PATH.finditer(arguments)]  # type: ignore[misc]


def _kind(call: str, arguments: str) -> str | None:
    kind = _KINDS.get(call)
    if kind == "open" and call != "creat" and not re.search(r"O_CREAT|O_TRUNC", arguments):
        return None
    return "rmdir" if kind == "unlink" and "AT_REMOVEDIR" in arguments else kind


def missed(seen: Counter[str], calls: Counter[str]) -> list[str]:
    """The kinds of which Python saw fewer than there were."""
    return [f"{kind}: {seen[kind]} of {calls[kind]}" for kind in calls - seen]


def main(folder: Path) -> None:
    """The part under strace: each command once, and its steps."""
    make_ready()
    tiny.without_worker_pools()
    seen = {}
    steps = watched(folder)
    for state in STATES:
        steps.kinds.clear()
        COMMANDS[state.command](folder / state.name)
        seen[state.name] = Counter(steps.kinds)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
