"""`python -m benchmarks [NAME …]`: run benchmarks, each in a process of its own, then write
RESULTS.md from all results so far. Run it on an idle machine: it measures against a rival in the
same run, but two cores shared with a browser give noise.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from jinja2 import Environment

from benchmarks.machine import facts

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NAMES = (
    "throughput",
    "prefix_cache",
    "mechanism",
    "workers",
    "reader",
    "sets",
    "faults",
    "tournament",
    "judging",
    "canaries",
    "plan",
    "loader",
    "steps",
    "trunk",
    "report",
    "rollouts",
    "online",
    "online_speed",
    "evaluation",
)


def main() -> int:
    """Run what was asked for (everything by default)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark called {min(unknown)}; there are: {', '.join(NAMES)}")
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        print(f"benchmark {name} …", flush=True)
        file = RESULTS / f"{name}.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", str(file)]
        if subprocess.run(command, check=False).returncode:
            print(f"benchmark {name} failed", file=sys.stderr)
            return 1
        file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": facts()}, indent=1))
    write_page()
    return 0


def write_page() -> None:
    """RESULTS.md from the stored results."""
    results = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    source = (HERE / "RESULTS.md.jinja").read_text()
    environment = Environment(autoescape=False, trim_blocks=True)  # noqa: S701
    (HERE / "RESULTS.md").write_text(environment.from_string(source).render(results) + "\n")


if __name__ == "__main__":
    sys.exit(main())
