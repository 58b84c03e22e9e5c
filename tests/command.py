"""The command ``verinfer`` in this process, since to start one for each would take longer than all else.

In processes of their own run the README's commands, the demo, and some vectors.
"""

from __future__ import annotations

import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from verinfer.verifier import cli


@dataclass(frozen=True)
class Done:
    """A command's exit code, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def verinfer(*words: object, home: Path) -> Done:
    """Run a command in the folder `home`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, chdir(home), redirect_stdout(out), redirect_stderr(err):
        # It would hide this process from those who look into it.
        patch.setattr(cli, "hide_memory", lambda: None)
        patch.setattr(sys, "argv", ["verinfer", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, out.getvalue(), err.getvalue())
