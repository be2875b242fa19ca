"""A full disk, for real: a small tmpfs in a name space of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import FaultServer
from tests.faults.runs import DOCUMENTS, FILES, Disturbed
from tests.pipeline.runs import ROOT, assert_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
mkdir -p "$1" && mount -t tmpfs -o size=64k tmpfs "$1" || exit 99
"$2" -m prewrite rewrite --config "$3"; echo "exit code $?"
ls -A "$1" "$1/_prewrite" "$1/_prewrite/commits"
mount -o remount,size=64m "$1" || exit 99
"$2" -m prewrite rewrite --config "$3"; echo "exit code $?"
cp -r "$1" "$4"
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def in_own_mounts(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that may mount; what it mounts is gone with it."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def may_mount() -> None:
    found = shutil.which("unshare")
    if not found or in_own_mounts("mount", "-t", "tmpfs", "tmpfs", "/mnt").returncode:
        pytest.skip("no disk can be made small here: mounting takes unshare and user name spaces")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_sentence_and_room_continues(
    tmp_path: Path, server: FaultServer, workers: int
) -> None:
    run = Disturbed(tmp_path, server, judge=False, workers=workers)
    copy = tmp_path / "copy"
    done = in_own_mounts(
        "sh", "-c", SCRIPT, "sh", run.output, sys.executable, str(run.config), str(copy)
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("exit code ")[1:]
    assert first.startswith("1\n") and second.startswith("0\n"), done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "Traceback" not in done.stderr
    full = said[0].endswith("cannot write: No space left on device")
    assert full or "MiB of free disk; accepted: " in said[0]
    assert ".tmp-" not in first, "a torn file was left"
    assert_whole(str(copy))
    manifest = ShardSet(str(copy)).manifest
    assert manifest.documents == FILES * DOCUMENTS
    assert manifest.statuses == {"ok": manifest.rows}
