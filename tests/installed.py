"""Environments that have the project's wheel, what some extras ask for, and nothing else: a folder
of links into the environment of the tests each, so nothing is fetched or installed.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(link.name for link in (ROOT / "prewrite").iterdir() if link.is_symlink())


def requirements(*extras: str) -> list[str]:
    """Lines of pyproject.toml: those of the core, and of these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def closure(lines: Iterable[str]) -> dict[str, Distribution]:
    """The installed distributions that these requirements bring along. Others, which the locks
    leave out, are passed over.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(line, "") for line in lines]
    while waiting:
        line, extra = waiting.pop()
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        for key in {(wanted.name, one) for one in {"", *wanted.extras}} - seen:
            seen.add(key)
            try:
                found[key[0]] = distribution(key[0])
            except PackageNotFoundError:
                continue
            waiting += [(line, key[1]) for line in found[key[0]].requires or []]
    return found


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, built in a copy of it."""
    copy = folder / "copy"
    for name in (*FOLDERS, "prewrite"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), "."]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *words]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """An environment, and a folder in which commands run."""

    packages: Path
    folder: Path

    def python(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python in it; site-packages of the tests are not seen."""
        environment = {**os.environ, "PYTHONPATH": str(self.packages), **variables}
        return subprocess.run(
            [sys.executable, "-S", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    def prewrite(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command as its script does."""
        return self.python(str(self.packages / "bin/prewrite"), *words, **variables)


SCRIPT = """\
import sys
from {0.module} import {0.attr}

if __name__ == "__main__":
    sys.exit({0.attr}())
"""
"""A command as pip writes it."""


def install(wheel: Path, extras: Iterable[str], packages: Path, folder: Path) -> Installed:
    """An environment of the wheel with these extras; commands run in `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for one in closure(requirements(*extras)).values():
        for top in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(one.locate_file(top)))
    (point,) = Distribution.at(next(packages.glob("prewrite-*.dist-info"))).entry_points
    (packages / "bin").mkdir(exist_ok=True)
    (packages / "bin" / point.name).write_text(SCRIPT.format(point))
    return Installed(packages, folder)
