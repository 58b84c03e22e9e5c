from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_leaves_what_it_says(quick: Path, tmp_path: Path) -> None:
    """It ends well, and the commands that it prints last can be pasted: the receipt is verified, the lie rejected."""
    command = [sys.executable, "-m", "verinfer.verifier", "demo", "my demo", "--model", str(quick)]
    # As where verinfer is on no PATH, so that its last words say where it is.
    bare = {**os.environ, "PATH": os.defpath}
    done = subprocess.run(
        command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=170, env=bare
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    path, *checks = (line for line in done.stdout.splitlines() if line.startswith(("  export", "  verinfer")))
    statuses = [
        subprocess.run(
            ["/bin/bash", "-c", f"{path}\n{check}"], cwd=tmp_path, check=False, capture_output=True
        ).returncode
        for check in checks
    ]
    assert statuses == [0, 1]
