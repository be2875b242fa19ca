"""Every command of the README and the docs runs, page by page, and ends with exit code 0.

A page's commands run in their order in a repository of their own, so none leans on another page. A
command that an earlier page has run is not run again.
What is too much for a test stands in INSTEAD, with what runs in its place; what cannot run on one
machine is marked in the page itself, and is in NOT_RUN. Both are checked as far as can be.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.repository import build
from tests.docs.shell import PAGES, Block, blocks, run, shell
from tests.pipeline.object_store import KEYS, new_file_system, serving

REAL = "tests/test_quickstart.py runs it with the real model"
PLANS = "it takes a minute; tests/rewrite/test_plan.py runs it"
PHASES = "a minute and a second engine; tests/test_quickstart.py trains all phases with it"
POOLS = "a run that kept pools; tests/train/online/test_pool_set.py makes sets of some"
REASONED = "long answers of a random model; tests/test_quickstart.py reads real ones"
THINKS = "a model that has learnt to think; tests/train/tasks/test_prompted_runs.py measures one"
EVALUATES = "two models and a judge; tests/test_quickstart.py evaluates"
ABLATES = "half an hour; tests/evaluation/test_ablation.py trains a variant"
HUB = "the task's data set is on the hub; tests/evaluation/test_tasks.py runs local ones"
RETRIES = "a random model may fail at all of it again; tests/rewrite/test_retry.py asks"
CALIBRATES = "a random model guesses; tests/judge/measure/test_calibrate.py fits one that knows"
CANARIES = "hundreds of questions; tests/judge/measure/test_canaries.py plays them"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first test makes the repository, with a real engine
]

INSTEAD = {
    "make test": ("make -n test", "these are the tests"),
    'make rewrite ARGS="--retry-failed"': ('make rewrite ARGS="--retry-failed --dry-run"', RETRIES),
    "make plan": ('make plan ARGS="--dry-run"', PLANS),
    "make plan CONFIG=configs/mine.yaml": (
        'make plan CONFIG=configs/mine.yaml ARGS="--dry-run"',
        PLANS,
    ),
    "prewrite plan --config configs/mine.yaml run.workers=8": (
        "prewrite plan --config configs/mine.yaml run.workers=8 --dry-run",
        PLANS,
    ),
    "prewrite plan --config configs/quickstart.yaml input.limit=3": (
        "prewrite plan --config configs/quickstart.yaml input.limit=3 --dry-run",
        PLANS,
    ),
    "make train": ('make train ARGS="--dry-run"', PHASES),
    "ls runs/quickstart/rollouts/pools": ("ls runs/quickstart", PHASES),
    "prewrite train pools runs/quickstart/rollouts/pools --to data/pools": (
        "prewrite train pools --help",
        POOLS,
    ),
    "make evaluate": ('make evaluate ARGS="--dry-run"', EVALUATES),
    "make reproduce": ('make reproduce ARGS="--dry-run"', EVALUATES),
    "make ablation": ('make ablation ARGS="--table"', ABLATES),
    'make ablation ARGS="--only next-token,dpo-original-16"': (
        'make ablation ARGS="--only next-token,dpo-original-16 --table"',
        ABLATES,
    ),
    "prewrite ablation --only next-token,dpo-original-1": (
        "prewrite ablation --only next-token,dpo-original-1 --table",
        ABLATES,
    ),
    "prewrite evaluate tasks --config configs/mine.yaml": (
        "prewrite evaluate tasks --config configs/mine.yaml --dry-run "
        "'evaluate.tasks={names: [prewrite_standard]}'",
        HUB,
    ),
    "prewrite evaluate thoughts --config configs/train-thinking.yaml": (
        "prewrite evaluate thoughts --help",
        THINKS,
    ),
    "prewrite judge calibrate --config configs/quickstart.yaml measure.report.labels=labels.jsonl "
    "output=data/measured": (
        "prewrite judge calibrate --config configs/quickstart.yaml "
        "measure.report.labels=labels.jsonl output=data/measured --dry-run",
        CALIBRATES,
    ),
    "make judge-report": ('make judge-report ARGS="measure.report.canaries=false"', CANARIES),
    'make judge-report CONFIG=configs/quickstart.yaml ARGS="measure.report.labels=labels.jsonl '
    'output=data/measured"': (
        'make judge-report CONFIG=configs/quickstart.yaml ARGS="measure.report.labels=labels.jsonl '
        'output=data/measured measure.report.canaries=false"',
        CANARIES,
    ),
    ".venv/bin/prewrite judge canaries --config configs/quickstart.yaml": (
        "prewrite judge canaries --config configs/quickstart.yaml --dry-run",
        CANARIES,
    ),
    "prewrite judge canaries --config configs/quickstart.yaml output=data/quickstart": (
        "prewrite judge canaries --config configs/quickstart.yaml output=data/quickstart --dry-run",
        CANARIES,
    ),
    "prewrite judge canaries --config configs/quickstart.yaml 'judge.criteria=[safety]' "
    "output=data/canaries": (
        "prewrite judge canaries --config configs/quickstart.yaml 'judge.criteria=[safety]' "
        "output=data/canaries --dry-run",
        CANARIES,
    ),
    "prewrite judge --config configs/quickstart.yaml judge.input=data/quickstart/_rewrites "
    "output=data/again judge.readout=reasoning": (
        "prewrite judge --config configs/quickstart.yaml judge.input=data/quickstart/_rewrites "
        "output=data/again judge.readout=reasoning judge.sampling.max_tokens=16",
        REASONED,
    ),
    'make judge ARGS="judge.input=data/quickstart/_rewrites output=data/rescored '
    'judge.readout=reasoning"': (
        'make judge ARGS="judge.input=data/quickstart/_rewrites output=data/rescored '
        'judge.readout=reasoning judge.sampling.max_tokens=16"',
        REASONED,
    ),
}

NOT_RUN = {
    "docs/clusters.md": [
        "needs a Ray cluster",
        "needs a scheduler that numbers its tasks",
        "needs eight GPUs",
        "needs four nodes",
        "needs eight GPUs",
    ],
    "docs/for-pretraining-teams.md": ["needs eight GPUs"],
    "docs/reproducing.md": [
        "needs the corpora",
        "needs eight GPUs",
        "needs the set and a model from the hub",
        "needs models of 8B to 120B and eight GPUs",
    ],
    "docs/corpus.md": ["needs RedPajama v2 and a model from the hub"],
}
_MODEL = "models/smollm2-135m-instruct"
_ENGINE = f"{{kind: vllm, model: {_MODEL}}}"
_CORPUS = (
    f"chunking.tokenizer={_MODEL} input.layout=auto 'input.paths=[configs/sample/*.jsonl]' "
    "input.filter=null input.duplicates=keep"
)
_MODELS = (
    f"'engines={{llama-8b: {_ENGINE}, judge-120b: {_ENGINE}, judge-70b: {_ENGINE}, "
    f"policy: {_ENGINE}}}' train.model.path={_MODEL} 'train.data=[{{set: data/quickstart}}]' "
    f"'evaluate.models={{base: {_MODEL}}}' "
    "'evaluate.prefixes={ordinary: {set: data/quickstart}}'"
)
STAND_INS = {
    "docs/corpus.md": _CORPUS,
    "docs/reproducing.md": f"{_CORPUS} {_MODELS}",
}
"""For models and corpora that are not here, in the dry runs of what cannot run."""

RAN: set[str] = set()
"""Commands that have run on some page."""

BLOCKS = [block for path in PAGES for block in blocks(path)]
MARKED = [block for block in BLOCKS if block.mark]


def by_page() -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    for block in BLOCKS:
        if not block.mark:
            found.setdefault(block.page, []).append(block)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "prewrite"
    folder.mkdir()
    build(folder)
    return folder


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    """A copy, so that what one page makes no other finds."""
    folder = tmp_path / "prewrite"
    shutil.copytree(template, folder, symlinks=True)
    return folder


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """s3://bucket, on a server of this machine."""
    with serving(tmp_path / "log", "moto.server", "-H", "127.0.0.1", "-p", "0") as url:
        for name, value in {"AWS_ENDPOINT_URL": url, **KEYS}.items():
            monkeypatch.setenv(name, value)
        new_file_system().mkdir("bucket")
        yield
    monkeypatch.undo()
    new_file_system()


@pytest.mark.parametrize("page", by_page())
def test_every_command_of_a_page_runs(
    page: str, repository: Path, request: pytest.FixtureRequest
) -> None:
    if any("s3://bucket" in command for block in by_page()[page] for command in block.commands):
        request.getfixturevalue("bucket")
    for block in by_page()[page]:
        assert block.commands
        for command in (one for one in block.commands if one not in RAN):
            done = run(INSTEAD.get(command, (command,))[0], repository)
            where = f"{page}:{block.line}: {command}"
            assert done.code == 0, f"{where} ended with {done.code}:\n{done.text[-3000:]}"
            assert "Traceback" not in done.text, where
            RAN.add(command)


def test_no_shell_block_escapes() -> None:
    """Whatever is fenced as shell is one of BLOCKS, and only the known ones are marked."""
    fences = sum(
        len(re.findall(r"^ *```(?:sh|bash|shell|console)\b", path.read_text(), re.MULTILINE))
        for path in PAGES
    )
    assert len(BLOCKS) == fences > 30
    marks: dict[str, list[str]] = {}
    for block in MARKED:
        marks.setdefault(block.page, []).append(str(block.mark))
    assert marks == NOT_RUN
    comments = sum(len(re.findall(r"^<!-- not run", p.read_text(), re.M)) for p in PAGES)
    assert comments == len(MARKED), "a mark stands directly above its block"


def test_what_runs_instead_is_needed() -> None:
    commands = {command for blocks in by_page().values() for b in blocks for command in b.commands}
    assert set(INSTEAD) <= commands


@pytest.mark.parametrize("block", MARKED, ids=lambda block: f"{block.page}:{block.line}")
def test_what_is_not_run_is_planned(block: Block, repository: Path) -> None:
    """Program, options and overrides are right: the same command with --dry-run."""
    for command in block.commands:
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command)
        if found := re.match(r"(?:\.venv/bin/)?torchrun (.*? )?-m (.*)", command):
            _torchrun_takes(f"{found[1] or ''}-m {found[2]}")
            command = found[2]
        if command.startswith("make "):
            command = shell(f"make -n {command[5:]}", repository).text.strip().splitlines()[-1]
        command = re.sub(r"\$[A-Z_]+", "0", command)
        done = run(f"{command} {STAND_INS.get(block.page, '')} --dry-run", repository)
        assert done.code == 0, f"{command}:\n{done.text[-3000:]}"


def _torchrun_takes(arguments: str) -> None:
    from torch.distributed.run import get_args_parser

    parsed = get_args_parser().parse_args(shlex.split(arguments))
    assert parsed.module and parsed.training_script == "prewrite"
    assert parsed.training_script_args[0] == "train"
