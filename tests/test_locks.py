"""The locks: what stands beside each is its own, the check of wheels finds what it should, and
setup.sh takes the lock of its Python.
"""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import shared_files

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

Make = Callable[..., str]


@pytest.fixture
def wheel(tmp_path: Path) -> Make:
    """Makes a wheel with these files; its address."""

    def make(name: str, files: dict[str, str], tag: str = "py3-none-any") -> str:
        path = tmp_path / f"{name}-1.0-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, contents in {f"{name}-1.0.dist-info/WHEEL": "", **files}.items():
                archive.writestr(file, contents)
        return path.as_uri()

    return make


def shared(*addresses: str) -> list[dict[str, object]]:
    files = {Path(address).name.split("-")[0]: address for address in addresses}
    return shared_files.shared({name: shared_files.installs(url) for name, url in files.items()})


def pinned(lock: Path) -> dict[str, str]:
    return dict(pin.split("==") for pin in shared_files.pins(lock))


def test_each_device_has_a_lock_for_each_python_that_the_project_accepts() -> None:
    assert [lock.stem for lock in LOCKS] == ["cpu-py311", "cpu-py312", "gpu-py311", "gpu-py312"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.13"
    named = [name for name in project["classifiers"] if ":: Python ::" in name]
    assert [name.rsplit(" ", 1)[1] for name in named] == ["3.11", "3.12"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_what_stands_beside_a_lock_was_found_for_it(lock: Path) -> None:
    found = json.loads(lock.with_suffix(".files.json").read_text())
    assert found["lock"] == lock.name
    assert found["sha256"] == hashlib.sha256(lock.read_bytes()).hexdigest(), "run `make lock`"
    assert found["wheels"] + len(found["no_wheel_so_not_read"]) == len(pinned(lock))
    assert {overlap["reason"] for overlap in found["shared"]} <= {shared_files.REASON}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_cuda_13_or_none(lock: Path) -> None:
    pins = pinned(lock)
    majors = {found[1] for name in pins if (found := re.search(r"-cu(\d\d)$", name))}
    numbered = r"cuda-(python|bindings|toolkit)|nvidia-(cublas|cuda-\w+)"
    majors |= {pins[name].split(".")[0] for name in pins if re.fullmatch(numbered, name)}
    assert majors == ({"13"} if lock.stem.startswith("gpu") else set())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_every_extra_of_its_device(lock: Path) -> None:
    other = "cpu" if lock.stem.startswith("gpu") else "gpu"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for extra in extras if extra != other for line in extras[extra]]
    wanted = [Requirement(line) for line in (*project["dependencies"], *lines)]
    pins = {canonicalize_name(name): version for name, version in pinned(lock).items()}
    assert all(one.specifier.contains(pins[canonicalize_name(one.name)]) for one in wanted)
    script = (ROOT / "scripts/lock.sh").read_text()
    passed = {*re.findall(r"--extra (\w+)", script), "docs"}  # dev has all of docs
    assert passed | {"cpu", "gpu"} == set(extras)


def test_the_locks_of_a_device_have_the_same_versions_of_what_matters() -> None:
    for device, build in (("cpu", "+cpu"), ("gpu", "")):
        for lock in LOCKS:
            if lock.stem.startswith(device):
                assert pinned(lock)["torch"] == f"2.13.0{build}"
                assert pinned(lock)["megatron-core"] == "0.16.1"


def test_a_path_with_different_contents_is_refused_by_both_names(wheel: Make) -> None:
    old = wheel("old", {"cuda/a.py": "1", "cuda/b.py": "1", "old.py": ""})
    new = wheel("new", {"cuda/a.py": "2", "cuda/b.py": "2"})
    with pytest.raises(SystemExit, match="^lock: old and new both install cuda/a.py .and 1 more."):
        shared(old, new)


def test_a_path_with_the_same_contents_is_listed_with_the_reason(wheel: Make) -> None:
    one, two = (wheel(name, {"google/__init__.py": "#", f"{name}.py": ""}) for name in "ab")
    path = {"path": "google/__init__.py", "wheels": ["a", "b"], "reason": shared_files.REASON}
    assert shared(one, two) == [path]


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ("a-1.0.data/purelib/x.py", "x.py", "x.py"),
        ("a-1.0.data/platlib/x.py", "b-1.0.data/purelib/x.py", "x.py"),
        ("a-1.0.data/scripts/x", "b-1.0.data/data/bin/x", "../../../bin/x"),
        ("a-1.0.data/scripts/run", "b-1.0.dist-info/entry_points.txt", "../../../bin/run"),
    ],
)
def test_paths_are_those_of_the_installed_files(
    wheel: Make, first: str, second: str, path: str
) -> None:
    commands = "[console_scripts]\nrun = b:main\n"
    with pytest.raises(SystemExit, match=f"a and b both install {re.escape(path)}, with"):
        shared(wheel("a", {first: "1"}), wheel("b", {second: commands}))


def test_headers_and_folders_are_shared_by_nobody(wheel: Make) -> None:
    headers = {name: wheel(name, {f"{name}-1.0.data/headers/x.h": name, "p/": ""}) for name in "ab"}
    assert shared(*headers.values()) == []


@pytest.fixture
def lock(tmp_path: Path, wheel: Make) -> tuple[Path, Path]:
    """A lock for Python 3.12 and its addresses: wheels for two Pythons, a CPU build, a source."""
    lock, pylock = tmp_path / "cpu-py312.lock", tmp_path / "pylock.toml"
    lock.write_text("# made\none==1.0\nsource==1.0\ntorch==1.0+cpu\n")
    tags = ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64")
    wheels = [
        *(("one", wheel("one", {f"{tag[:5]}.py": "", "x.py": "1"}, tag)) for tag in tags),
        ("torch", wheel("torch", {"x.py": "1"})),
    ]
    text = 'lock-version = "1.0"\ncreated-by = "test"\n'
    for name in ("one", "source", "torch"):
        text += f'[[packages]]\nname = "{name}"\nversion = "1.0"\n'
        if name == "source":
            text += 'sdist = { url = "https://x/source-1.0.tar.gz", hashes = { sha256 = "0" } }\n'
        for url in (url for owner, url in wheels if owner == name):
            text += f'[[packages.wheels]]\nurl = "{url}"\nhashes = {{ sha256 = "0" }}\n'
    pylock.write_text(text)
    return lock, pylock


def test_the_wheels_of_a_lock_are_read_for_its_python(lock: tuple[Path, Path]) -> None:
    shared_files.main(*lock)
    found = json.loads(lock[0].with_suffix(".files.json").read_text())
    assert found == {
        "lock": "cpu-py312.lock",
        "sha256": hashlib.sha256(lock[0].read_bytes()).hexdigest(),
        "wheels": 2,
        "files": 5,
        "read_instead_of_cpu_build": ["torch==1.0"],
        "no_wheel_so_not_read": ["source==1.0"],
        "shared": [
            {"path": "x.py", "wheels": ["one==1.0", "torch==1.0"], "reason": shared_files.REASON}
        ],
    }
    chosen = shared_files.choose(tomllib.loads(lock[1].read_text()), 11)
    assert "cp311" in chosen["one==1.0"]


def test_a_refused_lock_and_a_broken_wheel_leave_no_result(
    lock: tuple[Path, Path], wheel: Make, tmp_path: Path
) -> None:
    wheel("torch", {"x.py": "2"})
    with pytest.raises(SystemExit, match="one==1.0 and torch==1.0 both install x.py"):
        shared_files.main(*lock)
    (tmp_path / "torch-1.0-py3-none-any.whl").write_bytes(b"PK")
    with pytest.raises(SystemExit, match="the wheel .*/torch-1.0.*whl cannot be read: BadZipFile"):
        shared_files.main(*lock)
    assert not lock[0].with_suffix(".files.json").exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """The folder over HTTP with ranges, and how many bytes went out with each answer."""
    sent: list[int] = []

    async def serve(ready: threading.Event, stop: asyncio.Event, port: list[int]) -> None:
        async def count(request: web.Request, response: web.StreamResponse) -> None:
            sent.append((response.content_length or 0) if request.method == "GET" else 0)

        app = web.Application()
        app.router.add_static("/", tmp_path)
        app.on_response_prepare.append(count)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    ready, stop, port = threading.Event(), asyncio.Event(), list[int]()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(ready, stop, port),))
    thread.start()
    assert ready.wait(30)
    yield f"http://127.0.0.1:{port[0]}", sent
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def test_only_the_end_of_a_wheel_is_fetched(wheel: Make, server: tuple[str, list[int]]) -> None:
    path = wheel("big", {"big.bin": "0" * 20_000_000, "big-1.0.data/scripts/x": ""})
    address, sent = server
    found = shared_files.installs(f"{address}/{Path(path).name}")
    assert set(found) == {"big.bin", "../../../bin/x", "big-1.0.dist-info/WHEEL"}
    assert 0 < sum(sent) < 2_000_000


STUB = """#!/bin/sh
case "$*" in
    -c*) echo {version} ;;
    --version) echo Python {version}.0 ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs setup.sh in a copy, with these Pythons on PATH; an installer that installs nothing."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()

    def stub(name: str, text: str) -> None:
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(**versions: str) -> subprocess.CompletedProcess[str]:
        stub("uv", "#!/bin/sh\n")
        for name in ("python3", "python3.11", "python3.12"):
            stub(name, "#!/bin/sh\nexit 127\n")
        for name, version in versions.items():
            stub(name.replace("_", "."), STUB.format(version=version))
        return subprocess.run(
            [tmp_path / "scripts/setup.sh"],
            env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PREWRITE_DEVICE": "cpu"},
            capture_output=True,
            text=True,
        )

    return run


def test_setup_takes_the_lock_of_the_first_python_that_has_one(
    setup: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = setup(python3="3.13", python3_12="3.12")
    assert done.returncode == 0, done.stderr
    assert "making .venv with Python 3.12.0 for the cpu" in done.stdout
    assert "packages of requirements/cpu-py312.lock" in done.stdout
    again = setup(python3="3.11")
    assert (again.returncode, again.stdout) == (0, ""), "the environment that is there is kept"


def test_setup_refuses_a_python_without_a_lock(
    setup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = setup(python3="3.13")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "setup: Found Python 3.13 on PATH; "
        "accepted: 3.11 3.12, for which requirements/ has a lock.\n"
    )
    assert "Found Python nowhere on PATH" in setup().stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_makes_an_environment_anew_whose_python_has_no_lock(
    setup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    setup(python3="3.11")
    stale = tmp_path / ".venv/bin/python"
    stale.write_text(STUB.format(version="3.13"))
    assert "making .venv with Python 3.11.0" in setup(python3="3.11").stdout
    assert "echo 3.11" in stale.read_text()
