"""What a figure was measured on."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import version


def facts() -> dict[str, str]:
    """Hardware, versions, date and commit."""
    return {
        "cpu": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "pyarrow", "datatrove")},
        "megatron": version("megatron-core"),
        "vllm": _vllm(),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _vllm() -> str:
    import vllm

    return str(vllm.__version__)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
