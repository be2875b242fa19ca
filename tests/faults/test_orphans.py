"""No process of an engine outlives the SIGKILL of the process that loaded it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prewrite.engine.orphans import descendants
from tests.pipeline.runs import ROOT

CHILDREN = """
import subprocess, sys
from prewrite.engine.orphans import guard
guard()
subprocess.Popen([sys.executable, "-c", "import subprocess as s; s.run(['sleep', '600'])"])
input()
"""

VLLM = """
from prewrite.engine.config import VllmConfig
from prewrite.engine.vllm_engine import VllmEngine
if __name__ == "__main__":
    VllmEngine(VllmConfig(kind="vllm", model="models/smollm2-135m-instruct", max_model_len=256))
    print("loaded", flush=True)
    input()
"""


def start(folder: Path, code: str, **environment: str) -> "subprocess.Popen[str]":
    script = folder / "parent.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_all_end(process: "subprocess.Popen[str]", least: int) -> None:
    """SIGKILL to the parent; soon nothing that it started is left."""
    end = time.monotonic() + 30
    while len(known := descendants(process.pid)) < least:
        assert time.monotonic() < end, "too few children"
        time.sleep(0.05)
    time.sleep(1)  # the guard has seen them, too
    process.kill()
    process.communicate()
    while left := [pid for pid in known if is_alive(pid)]:
        assert time.monotonic() < end + 30, f"{left} live on"
        time.sleep(0.05)


def test_children_and_theirs_end_with_a_killed_parent(tmp_path: Path) -> None:
    assert_all_end(start(tmp_path, CHILDREN), least=3)  # the guard itself is one


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_vllm_in_a_process_of_its_own_ends_with_a_killed_parent(tmp_path: Path) -> None:
    process = start(tmp_path, VLLM, VLLM_ENABLE_V1_MULTIPROCESSING="1")
    assert process.stdout and process.stdout.readline() == "loaded\n"
    assert_all_end(process, least=2)
