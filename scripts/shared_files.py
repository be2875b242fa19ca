# /// script
# requires-python = ">=3.11"
# dependencies = ["fsspec[http]", "packaging>=26.3"]
# ///
"""`uv run scripts/shared_files.py LOCK PYLOCK`: no two wheels of a lock may install the same path.

Two that do overwrite each other, and which one is left depends on the order of installation. LOCK
is `requirements/DEVICE-pyVERSION.lock`, PYLOCK the same pins with the addresses of their files (PEP
751, `uv pip compile --format pylock.toml`). Of each wheel only the directory at its end and its
entry points are read, in seconds for a hundred thousand files. The result is written beside LOCK as
`.files.json`. Paths with the same contents in all their wheels do no harm and are listed in it.
"""

import configparser
import hashlib
import json
import re
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from packaging.markers import default_environment
from packaging.pylock import Pylock
from packaging.tags import compatible_tags, cpython_tags

PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(31, 4, -1)] + [
    f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")
]
SCHEMES = {"purelib": "", "platlib": "", "scripts": "../../../bin/", "data": "../../../"}
"""Where the folders of a wheel's `.data` go, seen from site-packages as in an installed RECORD; its
headers go into a folder of its own.
"""

REASON = "the same contents in all"
Files = dict[str, str]
"""What a wheel installs: paths as in an installed RECORD, each with a digest of its contents."""


def main(lock: Path, pylock: Path) -> None:
    """Check one lock and write what was found beside it.

    Raises:
        SystemExit: a wheel cannot be read, or two install a path with different contents.
    """
    addresses = choose(tomllib.loads(pylock.read_text()), int(lock.stem.split("-py3")[1]))
    wheels = {pin: url for pin, url in addresses.items() if url.endswith(".whl")}
    with ThreadPoolExecutor(8) as pool:
        files = dict(zip(wheels, pool.map(installs, wheels.values()), strict=True))
    found: dict[str, Any] = {
        "lock": lock.name,
        "sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "wheels": len(wheels),
        "files": sum(len(paths) for paths in files.values()),
        "read_instead_of_cpu_build": sorted(set(addresses) - set(pins(lock))),
        "no_wheel_so_not_read": sorted(set(addresses) - set(wheels)),
        "shared": shared(files),
    }
    lock.with_suffix(".files.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"lock: {found['files']} files of {len(wheels)} wheels, {len(found['shared'])} shared")


def pins(lock: Path) -> list[str]:
    """The lock's `name==version`, in its order."""
    return re.findall(r"^[^#\s]+==\S+$", lock.read_text(), re.MULTILINE)


def choose(pylock: Mapping[str, Any], minor: int) -> dict[str, str]:
    """The address of what Python 3.`minor` installs for each `name==version`: of the wheel with the
    best tags for Linux on x86-64, or of the source where no wheel fits.
    """
    tags = [
        *cpython_tags((3, minor), platforms=PLATFORMS),
        *compatible_tags((3, minor), f"cp3{minor}", PLATFORMS),
    ]
    version = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
    chosen = Pylock.from_dict(pylock).select(
        environment=default_environment() | version,  # type: ignore[arg-type]
        tags=tags,
    )
    return {
        f"{package.name}=={package.version}": str(file.url)  # type: ignore[union-attr]
        for package, file in chosen
    }


def installs(url: str) -> Files:
    """What the wheel at `url` installs, its commands included; read by ranges, not as a whole.

    Raises:
        SystemExit: it cannot be read.
    """
    try:
        with fsspec.open(url, block_size=2**18) as file, zipfile.ZipFile(file) as wheel:
            entries = [entry for entry in wheel.infolist() if not entry.is_dir()]
            files = {_installed(e.filename): f"{e.CRC:08x}-{e.file_size}" for e in entries}
            points = next((n for n in files if n.endswith(".dist-info/entry_points.txt")), None)
            return files | (_commands(wheel.read(points).decode()) if points else {})
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"lock: the wheel {url} cannot be read: {type(error).__name__}: {error}")


def _installed(name: str) -> str:
    """Where the file `name` of a wheel goes."""
    found = re.fullmatch(r"[^/]+\.data/([^/]+)/(.+)", name)
    return SCHEMES[found[1]] + found[2] if found and found[1] in SCHEMES else name


def _commands(entry_points: str) -> Files:
    """The commands that pip makes of a wheel's entry points."""
    parser = configparser.ConfigParser(delimiters="=", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(entry_points)
    found = [parser[kind] for kind in ("console_scripts", "gui_scripts") if kind in parser]
    return {f"../../../bin/{name}": call for kind in found for name, call in kind.items()}


def shared(wheels: Mapping[str, Files]) -> list[dict[str, Any]]:
    """The paths that several wheels install with the same contents.

    Raises:
        SystemExit: the contents of one differ; it names the first such path of each set of wheels.
    """
    owners = defaultdict(list)
    for name, files in wheels.items():
        for path in files:
            owners[path].append(name)
    several = {path: names for path, names in sorted(owners.items()) if len(names) > 1}
    differ: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, names in several.items():
        if len({wheels[name][path] for name in names}) > 1:
            differ[tuple(names)].append(path)
    if differ:
        sys.exit("\n".join(_refused(names, paths) for names, paths in differ.items()))
    return [{"path": path, "wheels": names, "reason": REASON} for path, names in several.items()]


def _refused(names: tuple[str, ...], paths: list[str]) -> str:
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return (
        f"lock: {' and '.join(names)} both install {paths[0]}{more}, with different contents; "
        "accepted: one of them, or the same contents. Leave one out or bound it in "
        "requirements/*-overrides.txt."
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
