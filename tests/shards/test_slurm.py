"""Slurm: what is submitted, and what the submitted scripts make when they are really run.

Slurm's programs are stand-ins on PATH that keep what they are given. `Queue.drain` then is the
cluster: it runs the scripts in the order of their dependencies, array tasks one after the other.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from shards.manifest import Manifest
from shards.reader import ShardSet
from shards.steps import ranges
from tests.engine.fault_server import Fault, FaultServer
from tests.shards.runs import assert_whole, corpus_lines, ended, recipe, rows, start

FILES, DOCUMENTS = 6, 5

SBATCH = """#!/usr/bin/env python3
import json, os, pathlib, sys
queue = pathlib.Path(os.environ["QUEUE"])
if (queue / "refuse").exists() and len(list(queue.glob("*.json"))) >= int((queue / "refuse").read_text()):
    sys.exit("sbatch: error: invalid partition specified: gpuu")
number = 100 + len(list(queue.glob("*.json")))
job = {"id": number, "arguments": sys.argv[1:], "script": pathlib.Path(sys.argv[-1]).read_text()}
(queue / f"{number}.json").write_text(json.dumps(job))
print(f"{number};cluster")
"""  # noqa: E501
SQUEUE = """#!/bin/sh
cat "$QUEUE/pending" 2> /dev/null || true
"""
SCANCEL = """#!/bin/sh
echo "$@" >> "$QUEUE/cancelled"
"""


class Queue:
    """The folder in which the stand-ins keep things."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "queue"
        programs = folder / "bin"
        self.folder.mkdir()
        programs.mkdir()
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        patch.setenv("QUEUE", str(self.folder))
        self.codes: dict[int, list[int]] = {}

    def jobs(self) -> list["Job"]:
        return [Job(json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]

    def drain(self, broken: Sequence[str] = ()) -> None:
        """Run every job that has not been run, unless what it depends on forbids it."""
        for job in self.jobs():
            if job.id in self.codes:
                continue
            kind, before = job.after
            if kind == "afterok" and any(self.codes[before]):
                self.codes[job.id] = [1]  # --kill-on-invalid-dep
                continue
            self.codes[job.id] = [job.run(index) for index in job.indices if index not in broken]
            if len(self.codes[job.id]) < len(job.indices):
                self.codes[job.id].append(1)


class Job:
    """One job as sbatch got it."""

    def __init__(self, kept: dict[str, object]) -> None:
        self.id, self.script = int(str(kept["id"])), str(kept["script"])
        self.arguments = list(map(str, kept["arguments"]))  # type: ignore[call-overload]

    @property
    def directives(self) -> dict[str, str]:
        return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", self.script, re.MULTILINE))

    @property
    def after(self) -> tuple[str, int]:
        found = [one for one in self.arguments if one.startswith("--dependency=")]
        kind, _, number = (
            found[0].removeprefix("--dependency=").partition(":") if found else ("", "", "0")
        )
        return kind, int(number)

    @property
    def indices(self) -> list[str]:
        """The array's, or one empty one."""
        found: list[str] = []
        for piece in self.directives.get("array", "").partition("%")[0].split(","):
            first, _, last = piece.partition("-")
            found += map(str, range(int(first), int(last or first) + 1)) if first else [""]
        return found

    def run(self, index: str) -> int:
        """Run the script as Slurm would; its exit code."""
        environment = os.environ | ({"SLURM_ARRAY_TASK_ID": index} if index else {})
        done = subprocess.run(
            ["bash"],
            input=self.script,
            env=environment,
            cwd=self.directives["chdir"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.said = done.stderr
        assert "Traceback" not in done.stderr
        return done.returncode


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(tmp_path, monkeypatch)


class Submitted:
    """One recipe, submitted as often as a test likes."""

    def __init__(
        self, folder: Path, server: FaultServer, judge: bool = False, **run: object
    ) -> None:
        corpus = folder / "corpus"
        corpus.mkdir()
        for number in range(FILES):
            (corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
        self.output, self.scratch = str(folder / "set"), folder / "scratch"
        self.config = folder / "recipe.yaml"
        shape = {
            "executor": "slurm",
            "tasks": 4,
            "workers": 2,
            "slurm": {"logs": str(folder / "logs")},
        }
        text = recipe(f"{corpus}/*.jsonl", self.output, server.url, judge=judge, **(shape | run))
        self.config.write_text(text)

    def __call__(self, *overrides: str) -> tuple[int, str, str]:
        return ended(start(self.config, *overrides, scratch=self.scratch))


def test_both_passes_are_made_by_the_submitted_jobs(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server, judge=True)
    code, out, err = run()
    assert code == 0, err
    assert len(server.calls) == 0, "the submitting machine did the work"
    name = re.search(r"squeue --name=(prewrite-\w{8});", out)
    assert name and "job 100: tasks 0-3, then job 101" in out
    tasks, finish, judging, end = queue.jobs()
    assert [job.after for job in (finish, judging, end)] == [
        ("afterany", 100), ("afterok", 101), ("afterany", 102),
    ]  # fmt: skip
    assert tasks.directives["array"] == judging.directives["array"] == "0-3%2"
    assert "array" not in finish.directives
    assert {job.directives["job-name"] for job in queue.jobs()} == {name[1]}
    queue.drain()
    assert queue.codes == {100: [0] * 4, 101: [0], 102: [0] * 4, 103: [0]}
    for url in (run.output, f"{run.output}/rewrites"):
        assert_whole(url)
        assert ShardSet(url).manifest.documents == FILES * DOCUMENTS
    assert {row["original_quality"] for row in rows(run.output, ["original_quality"])} != {None}
    code, out, _ = run()
    assert (code, len(queue.jobs())) == (0, 4)
    assert "the set is complete; nothing to do" in out


def test_what_a_failed_task_left_is_submitted_again_in_other_pieces(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server, judge=True, rows_per_part=4)
    assert run()[0] == 0
    queue.drain(broken=["1"])
    assert queue.codes == {100: [0, 0, 0, 1], 101: [1], 102: [1], 103: [1]}
    asked = len(server.calls)
    code, out, _ = run("run.tasks=5", "run.workers=1")
    # Task 1 of 4 had the files 1 and 5; of 5 tasks those are the tasks 1 and 0.
    assert code == 0 and "job 104: tasks 0-1, then job 105" in out
    queue.drain()
    assert_whole(run.output)
    assert ShardSet(run.output).manifest.documents == FILES * DOCUMENTS
    manifest = ShardSet(f"{run.output}/rewrites").manifest
    rewrites = [call for call in server.calls if call.body["max_tokens"] != 1]
    assert asked and len(rewrites) == manifest.rows == manifest.passes[0].usage.requests


def test_the_finish_names_what_has_not_ended(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server)
    assert run()[0] == 0
    queue.drain(broken=["0", "1", "3"])
    code, _, err = run("run.step=rewrite:finish")
    assert code == 1
    assert f"error: {run.output}: 3 of 4 tasks of rewrite have not ended: 0-1,3; run the" in err
    code, _, err = run("run.executor=local")
    assert code == 0, err
    assert_whole(run.output)


def test_a_task_told_to_end_commits(tmp_path: Path, server: FaultServer, queue: Queue) -> None:
    """Slurm's signal before the time limit reaches Python, since the script execs it."""
    run = Submitted(tmp_path, server, rows_per_part=4, tasks=1)
    assert run()[0] == 0
    job = queue.jobs()[0]
    assert job.directives["signal"] == "B:TERM@120"
    server.plan = lambda call: Fault(seconds=0.1)
    process = subprocess.Popen(
        ["bash", "-c", job.script],
        env=os.environ | {"SLURM_ARRAY_TASK_ID": "0"},
        stderr=-1,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(Path(run.output, "commits").glob("*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert (code, err.splitlines()[-1]) == (
        130, "interrupted after a clean commit; the same command continues",
    )  # fmt: skip
    server.plan = None
    asked = len(server.calls)
    queue.drain()
    assert_whole(run.output)
    assert len(server.calls) == ShardSet(run.output).manifest.rows > asked


def test_what_slurm_is_asked_for(tmp_path: Path, server: FaultServer, queue: Queue) -> None:
    slurm = {
        "logs": str(tmp_path / "logs of mine"), "partition": "gpu", "time": "24:00:00",
        "cpus_per_task": 8, "mem_per_cpu_gb": 6, "sbatch_args": {"account": "lab", "mem-per-cpu": "9G"},
        "env_command": "module load cuda",
    }  # fmt: skip
    run = Submitted(tmp_path, server, slurm=slurm, gpus_per_task=2)
    code, _, err = run("run.slurm.logs=" + str(tmp_path / "logs"))
    assert code == 0, err
    tasks, finish = queue.jobs()
    assert tasks.directives.items() >= {
        "partition": "gpu", "time": "24:00:00", "cpus-per-task": "8", "gpus": "2",
        "account": "lab", "mem-per-cpu": "9G", "requeue": "",
    }.items()  # fmt: skip
    assert "gpus" not in finish.directives and finish.directives["cpus-per-task"] == "1"
    assert tasks.script.index("module load cuda") < tasks.script.index("exec ")


def test_no_secret_and_no_pickle_lies_beside_the_scripts(
    tmp_path: Path, server: FaultServer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    run = Submitted(tmp_path, server)
    assert run("engines.main.api_key_env=SOME_KEY", "run.tasks=3")[0] == 0
    files = [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"recipe.yaml", "rewrite-tasks.sh", "rewrite-finish.sh"}
    assert not [path for path in files if "sk-very-secret" in path.read_text()]
    assert not list(Path(run.output).rglob("*.pik"))
    kept = yaml.safe_load(next(path for path in files if path.suffix == ".yaml").read_text())
    assert (kept["run"]["tasks"], kept["engines"]["main"]["api_key_env"]) == (3, "SOME_KEY")
    queue.drain()
    assert_whole(run.output)


def test_a_second_submission_waits_for_the_first(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server)
    (queue.folder / "pending").write_text("100_1\n101\n")
    code, _, err = run()
    assert (code, queue.jobs()) == (1, [])
    assert "jobs of this run are in the queue: 100_1, 101; wait for them, or stop them" in err


def test_a_refused_job_takes_back_those_before_it(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server, judge=True)
    (queue.folder / "refuse").write_text("2")
    code, _, err = run()
    assert code == 1
    assert err == "error: sbatch failed: sbatch: error: invalid partition specified: gpuu\n"
    assert (queue.folder / "cancelled").read_text() == "100 101\n"


def test_a_changed_recipe_is_refused_before_anything_is_submitted(
    tmp_path: Path, server: FaultServer, queue: Queue
) -> None:
    run = Submitted(tmp_path, server)
    assert run()[0] == 0
    queue.drain(broken=["1"])
    code, _, err = run("chunking.tokens=32")
    assert code == 1 and "chunking.tokens: 48 → 32" in err
    assert len(queue.jobs()) == 2
    code, _, err = run("chunking.tokens=32", "run.step=rewrite:1")
    assert code == 1 and "chunking.tokens: 48 → 32" in err


MISTAKES = [
    (
        ["run.step=rewrite:4"],
        2,
        "run.step: found 'rewrite:4'; accepted: PASS:start, PASS:0 to PASS:3",
    ),
    (["run.step=judge:0"], 2, "run.step: found 'judge:0'; accepted: PASS:start"),
    (["run.step=rewrite:1"], 1, "rewrite was not started; run it with run.step=rewrite:start"),
    (["run.slurm.time=24:00:00"], 2, "run.slurm.time: found 86400; accepted: a text in quotes"),
    (
        ["run.executor=slurmm"],
        2,
        "run.executor: found 'slurmm'; accepted: 'local', 'slurm' or 'ray'",
    ),
    ([], 2, "run.executor: found 'slurm', but there is no squeue on PATH"),
]


@pytest.mark.parametrize(("overrides", "code", "sentence"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_one_sentence(
    tmp_path: Path, server: FaultServer, overrides: list[str], code: int, sentence: str
) -> None:
    got, _, err = Submitted(tmp_path, server)(*overrides)
    assert got == code and sentence in err and len(err.splitlines()) == 1, err
    assert not Path(tmp_path, "set").exists()


def test_start_is_a_step_of_its_own(tmp_path: Path, server: FaultServer) -> None:
    """For schedulers that only start commands: no executor but the default."""
    run = Submitted(tmp_path, server, executor="local", tasks=2)
    for step in ("start", "1", "0", "1", "finish", "finish"):
        code, _, err = run(f"run.step=rewrite:{step}")
        assert code == 0, err
        assert ShardSet if step == "finish" else Manifest.find
    assert_whole(run.output)
    assert len(server.calls) == ShardSet(run.output).manifest.rows


def test_ranges() -> None:
    assert ranges([0]) == "0"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
