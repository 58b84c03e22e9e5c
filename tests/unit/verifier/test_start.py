"""The command's first moment."""

from __future__ import annotations

import subprocess
import sys

START = """
import signal, sys, types
# Whatever this process inherited: a shell's background jobs ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Watched(types.ModuleType):
    @property
    def main(self):
        print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)
        return lambda: None
sys.modules["verinfer.verifier.cli"] = Watched("cli")
import verinfer.verifier.__main__
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interrupt_while_modules_load_is_no_traceback() -> None:
    """It just ends the process then; afterwards Python's own handler is back, which the command answers."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
