"""Runs the demo and draws the part from the question on, as a terminal shows it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write ``scripts/demo.svg``."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "models").symlink_to(ROOT / "models")
        done = subprocess.run(
            [sys.executable, "-m", "verinfer.verifier", "demo", "demo-out"],
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    shown = done.stdout[done.stdout.index("[4/7]") : done.stdout.index("\nDone in")]
    # The middle of a digest tells nobody anything.
    shown = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", shown)
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    for line in shown.splitlines():
        console.print(Text(line, style=_style(line)))
    console.save_svg(str(ROOT / "scripts" / "demo.svg"), title="./scripts/demo")


def _style(line: str) -> str:
    if line.startswith("["):
        return "bold"
    if line.startswith("$"):
        return "cyan"
    if line.startswith(("VERIFIED", "  +")):
        return "green"
    if line.startswith(("REJECTED", "COULD")):
        return "bold red"
    return "yellow" if line.startswith("  !") else ""


if __name__ == "__main__":
    main()
