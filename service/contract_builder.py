"""One contract, as a process of its own: from a verify bundle to a contract folder, as ``verinfer contract build`` makes it.

Started by `contracts`, in a working folder that is also its folder for temporary files, so that nothing stays behind.
Reads one JSON object from standard input: ``bundle`` (a folder), ``form`` and ``out``; writes one: ``done``, or ``code``
and ``message``, which may name places here. EZKL, the compiler and the EVM run in jailed children of this process.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from verinfer.verifier.bundle import read_files
from verinfer.verifier.errors import CouldNotCheck, VerinferError
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.jail import JailError, hide_memory

from . import logs
from .lifeline import die_with_parent

_log = logging.getLogger("verinfer.service.contract_builder")  # this module runs as __main__


def build(bundle: Path, form: Form | None, out: Path) -> None:
    """Make the folder `out`; raises `VerinferError`, ``native-missing`` where the extra `evm` is not installed."""
    try:
        from verinfer.verifier.evm.make import make_contract
    except ModuleNotFoundError as error:
        raise CouldNotCheck("native-missing", f"There is no package {error.name}.") from error
    # That the SRS is insecure stands in the description, and whoever fetches it has to allow that.
    make_contract(read_files(bundle), out, form=form, allow_insecure_srs=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        build(Path(request["bundle"]), request["form"], Path(request["out"]))
    except VerinferError as error:
        return {"code": error.code, "message": error.message}
    return {"done": True}


def main() -> None:
    """Run as ``python -m verinfer.service.contract_builder PARENT``; the argument is the server's process id."""
    die_with_parent()
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
    logs.configure()
    request = json.load(sys.stdin)
    with suppress(JailError):  # Where there is no jail, the children say so.
        hide_memory()
    try:
        answer = _answer(request)
    except Exception:  # noqa: BLE001 - the exit status tells the server, and the log has the rest
        _log.exception("a contract build failed inside the service")
        sys.exit(1)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
