"""A real Ethereum node for tests: anvil, with accounts that have money from the start."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANVIL = Path(__file__).parents[1] / ".venv" / "anvil" / "node_modules" / ".bin" / "anvil"
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""anvil's first account, which everybody knows."""


@contextmanager
def running(port: int, hardfork: str = "prague") -> Iterator[str]:
    """A node of its own chain on this port, by the rules of `hardfork`, until the context ends; gives its address."""
    process = subprocess.Popen(
        [ANVIL, "--hardfork", hardfork, "--port", str(port), "--silent"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_it_listens(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(400):
        assert process.poll() is None, "anvil ended; did scripts/setup test install it?"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("anvil did not start")
