"""What processes listen on, as the system tells it in /proc."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_LISTENS = "0A"


def listening(processes: Iterable[int]) -> set[str]:
    """The addresses on which these processes, and all that they have started, listen for TCP."""
    owned = {inode for pid in _family(set(processes)) for inode in _sockets(pid)}
    return {address for inode, address in _listeners() if inode in owned}


def open_to_others(addresses: Iterable[str]) -> set[str]:
    """Those of `addresses` that are not this machine's own loopback."""
    return {one for one in addresses if not ipaddress.ip_address(one).is_loopback}


def _family(pids: set[int]) -> set[int]:
    """With their descendants."""
    parents = dict(_parents())
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            stat = (entry / "stat").read_text(errors="replace")
            yield int(entry.name), int(stat.rpartition(")")[2].split()[1])


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry)):
                    yield found[1]


def _listeners() -> Iterator[tuple[str, str]]:
    """Inode and address of every listening socket."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = fields = line.split()
            if state == _LISTENS:
                # The bytes of each 32 bits stand the other way round.
                words = re.findall("." * 8, local.partition(":")[0])
                packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
                address = ipaddress.ip_address(packed)
                yield fields[9], str(getattr(address, "ipv4_mapped", None) or address)
