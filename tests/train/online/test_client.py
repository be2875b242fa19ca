"""A worker that cannot go on is an error and never a hang; nothing of it stays behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from prewrite.base.errors import ConfigError, EngineError
from prewrite.train.messages import RolloutRequest, WeightSync
from prewrite.train.online.client import WorkerClient
from tests.train.online.workers import PROOF, config, engines, make_policy, prompt, worker

SYNC = WeightSync(0, "/nowhere", PROOF, (0.0,) * (len(PROOF) - 1))


def gone(pid: int, seconds: float = 60) -> bool:
    """Whether nobody is left in the process group `pid`, now or soon."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with worker(config(tmp_path), engines(tmp_path / "model")) as client:
        with pytest.raises(EngineError, match="/model: no such folder"):
            client.synced(0)
        assert gone(client.pid)


def test_a_criterion_that_is_not_there(tmp_path: Path) -> None:
    judge = {"engine": "judge", "criteria": ["no/criterion.yaml"]}
    settings = config(tmp_path, judge=judge)
    expected = pytest.raises(ConfigError, match=r"no/criterion\.yaml")
    with worker(settings, engines(tmp_path)) as client, expected:
        client.answer(0)


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    with worker(config(tmp_path), engines(tmp_path)) as client:
        os.kill(client.pid, signal.SIGKILL)
        with pytest.raises(EngineError) as caught:
            client.answer(0)
        log = tmp_path / "run/rollouts/worker-0.log"
        expected = f"the rollout worker died (SIGKILL); its last words, in {log}: nothing"
        assert str(caught.value) == expected
        with pytest.raises(EngineError, match="died"):
            client.send(SYNC)


def test_a_worker_that_hangs(tmp_path: Path) -> None:
    with worker(config(tmp_path, timeout=0.5), engines(tmp_path)) as client:
        os.kill(client.pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"not answered for 0\.5 s \(train\.rollouts\.timeo"):
            client.synced(0)
        assert gone(client.pid)


def test_a_worker_that_reads_nothing(tmp_path: Path) -> None:
    """A pipe that is full ends in an error as well."""
    with worker(config(tmp_path, timeout=0.5), engines(tmp_path)) as client:
        os.kill(client.pid, signal.SIGSTOP)
        long = prompt(0, range(1_000_000))
        with pytest.raises(EngineError, match="not answered"):
            client.send(RolloutRequest(0, 0, (long,), 1, keep=False))


def test_signals_are_the_trainers_business(tmp_path: Path) -> None:
    """What a terminal or a scheduler sends to all must not end the worker before the trainer."""
    make_policy(tmp_path / "model")
    with worker(config(tmp_path), engines(tmp_path / "model")) as client:
        client.send(SYNC)
        log = Path(f"/proc/{client.pid}/status")
        while int(_field(log, "SigCgt"), 16) >> (signal.SIGTERM - 1) & 1 == 0:
            time.sleep(0.01)
        os.kill(client.pid, signal.SIGINT)
        os.kill(client.pid, signal.SIGTERM)
        with pytest.raises(EngineError, match="/nowhere"):
            client.synced(0)


def _field(status: Path, name: str) -> str:
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return lines[name].strip()


def test_close_ends_it(tmp_path: Path) -> None:
    with worker(config(tmp_path), engines(tmp_path)) as client:
        client.close()
        assert gone(client.pid, 0.1)
        client.close()


@pytest.mark.slow
def test_no_worker_outlives_a_trainer_that_is_killed(tmp_path: Path) -> None:
    """Not when it samples, and not when another process holds the pipe open."""
    make_policy(tmp_path / "model")
    command = [sys.executable, "-m", "tests.train.online.test_client", str(tmp_path)]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert trainer.stdout
        pid, heir = map(int, trainer.stdout.readline().split())
        trainer.kill()
        assert gone(pid)
    finally:
        trainer.kill()
        with suppress(UnboundLocalError, ProcessLookupError):
            os.kill(heir, signal.SIGKILL)


def _train(folder: Path) -> None:
    """A trainer whose worker samples; says the worker's pid and that of a child with its pipe."""
    from transformers import AutoModelForCausalLM

    from tests.train.online.test_worker import told

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    client = WorkerClient(config(folder, tolerance=1e6), engines(folder / "model"), 2, None, 0)
    client.send(WeightSync(0, str(folder / "model"), PROOF, told(model, PROOF)))
    client.synced(0)
    for number in range(64):
        prompts = tuple(prompt(number, (1, sample)) for sample in range(64))
        client.send(RolloutRequest(number, 0, prompts, 4, keep=False))
    client.answer(0)
    heir = os.fork()
    if heir:
        print(client.pid, heir, flush=True)
    signal.pause()


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
