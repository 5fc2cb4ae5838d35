"""Who listens on this host: read from /proc, so nothing is bound and nobody is disturbed."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from dual_update.core.surroundings import Holder, Listener

_STATES = {"tcp": "0A", "udp": "07"}
"""LISTEN, and for udp a socket without a peer. Source: Linux, include/net/tcp_states.h."""

_CONTAINER = re.compile(r"[0-9a-f]{64}")


class HostSockets:
    """Fits the port Sockets. Where there is no /proc nothing is known, and nothing is claimed."""

    def __init__(self, proc: str | Path = "/proc") -> None:
        self._proc = Path(proc)

    def listening(self) -> tuple[Listener, ...]:
        """Every socket that takes a port from others."""
        return tuple(
            one for protocol in _STATES for table in ("", "6") for one in self._table(protocol, table)
        )

    def _table(self, protocol: str, family: str) -> Iterator[Listener]:
        try:
            lines = (self._proc / "net" / f"{protocol}{family}").read_text().splitlines()[1:]
        except OSError:
            return
        for line in lines:
            words = line.split()
            if len(words) < 10 or words[3] != _STATES[protocol]:
                continue
            address, _, port = words[1].partition(":")
            yield Listener(_address(address), int(port, 16), protocol, int(words[9]))

    def holder(self, listener: Listener) -> Holder | None:
        """The process that has this socket open, as far as this user may see."""
        wanted = f"socket:[{listener.inode}]"
        for process in self._proc.glob("[0-9]*"):
            try:
                if any(str(fd.readlink()) == wanted for fd in (process / "fd").iterdir()):
                    found = _CONTAINER.search((process / "cgroup").read_text())
                    program = (process / "comm").read_text().strip()
                    return Holder(int(process.name), program, found[0] if found else "")
            except OSError:
                continue  # it ended, or is not ours to look at
        return None

    def has_address(self, address: str) -> bool:
        """Is this an address of this host: only then can a port of it be published."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except OSError:
            return False
        return True


def _address(text: str) -> str:
    """The kernel writes addresses as hexadecimal words of four bytes in its own byte order."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
