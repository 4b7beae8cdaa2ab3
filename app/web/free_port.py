"""A port for the web server."""

from __future__ import annotations

import socket


def free_port(host: str, wanted: int, *, tries: int = 20) -> int:
    """The first port from `wanted` on that nobody listens on."""
    for port in range(wanted, wanted + tries):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return wanted
