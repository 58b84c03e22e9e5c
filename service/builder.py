"""One build, as a process of its own: from uploaded files to a circuit package, by the same functions as ``verinfer compile``.

Started by `builds`, in a working folder that is also its folder for temporary files, so that nothing stays behind.
Reads one JSON object from standard input: ``order``, ``upload`` (its files), ``out`` (where the package goes) and the server's
``settings``; writes JSON lines: ``phase`` and ``progress``, and at last ``done``, or ``code``, ``message``, and whether that is
``told`` to whoever uploaded.
Native code runs in jailed children of this process, which inherit its limit of memory.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from verinfer.circuits import srs
from verinfer.circuits.adopt import Given, make_folder
from verinfer.circuits.compile import compile_model
from verinfer.circuits.estimate import estimate
from verinfer.circuits.native import Workplace, heavy_limits, machine_memory
from verinfer.circuits.targets import parse_targets
from verinfer.verifier.errors import UsageError, VerinferError
from verinfer.verifier.jail import JailError, hide_memory, stand_back

from . import logs, storage
from .build_store import read_order
from .data_folder import DataFolder
from .jobs import BuildOrder
from .lifeline import die_with_parent
from .settings import Settings

_log = logging.getLogger("verinfer.service.builder")  # this module runs as __main__

OnProgress = Callable[[str, float], None]

_SACRIFICED = "500"
"""When memory runs out, the kernel ends the build rather than the server or a proof (proc(5), oom_score_adj)."""

_SPANS: dict[str, tuple[float, float]] = {
    "adopt": (0.0, 0.03),
    "estimate": (0.03, 0.1),
    "inspect": (0.1, 0.12),
    "resume": (0.12, 0.12),
    "rewrite": (0.12, 0.15),
    "numbers": (0.15, 0.35),
    "fidelity": (0.35, 0.5),
    "trial proofs": (0.5, 0.75),
    "circuit": (0.75, 0.77),
    "srs": (0.77, 0.8),
    "setup": (0.8, 0.85),
    "self-test": (0.85, 0.93),
    "package": (0.93, 0.95),
    "prices": (0.95, 1.0),
}
"""Which part of the whole work each phase of a build is, roughly."""

_TOLD = frozenset(
    {
        "disk-full",
        "model-refused",
        "model-too-large",
        "model-unsupported",
        "no-circuit",
        "rewrite-differs",
        "sample-malformed",
        "shape-mismatch",
        "spec-malformed",
        "srs-missing",
        "store-full",
        "target-malformed",
        "usage",
        "value-not-finite",
        "value-not-integer",
        "value-out-of-range",
    }
)
"""Failures whose words are about the upload itself, or what its sender can do."""


def build(order: BuildOrder, upload: Path, out: Path, settings: Settings, on_progress: OnProgress) -> None:
    """Make the package `out`; raises `VerinferError`. A search that an earlier attempt began goes on where it was."""
    on_progress("adopt", 0.0)
    folder = _model_folder(order, upload) if order.bare else upload
    on_progress("estimate", 0.0)
    cost = estimate(folder, batch=order.batch, inputs=order.inputs).cost
    if not settings.build_insecure_srs and not any(map(srs.find_ceremony, _nearby(cost.logrows))):
        raise UsageError(
            "srs-missing",
            f"This model needs the ceremony's SRS for k = {cost.logrows}, which this service does not have; ask its operator.",
        )
    package = cost.pk_bytes + cost.vk_bytes + (128 << cost.logrows)
    storage.require_room(settings, DataFolder(settings.data), package)
    # At the worst moment there are the keys of a trial proof, too, and the SRS that the package's is a copy of.
    storage.require_disk(settings, out.parent, 2 * package)
    compile_model(
        folder,
        out,
        srs=None,
        insecure_srs=settings.build_insecure_srs,
        on_progress=on_progress,
        targets=parse_targets(order.target),
        budget=order.budget,
        batch=order.batch,
        inputs=order.inputs,
        searches=upload,
        # What was estimated, and what whoever uploaded asked for with an SRS in mind.
        system="ezkl",
    )


def _model_folder(order: BuildOrder, upload: Path) -> Path:
    """The bare model as a model folder, made once for all attempts."""
    folder = upload / "model"
    if not folder.exists():
        given = Given(
            onnx=upload / "network.onnx",
            samples=upload / "samples.npz",
            name=order.model,
            version=order.version,
            task=order.task,
            labels=order.labels,
            without_head=order.cut_head,
        )
        make_folder(given, folder, Workplace(directory=Path.cwd(), limits=heavy_limits()))
    return folder


def _nearby(logrows: int) -> range:
    """The sizes that a circuit may have which was estimated at `logrows`."""
    return range(max(logrows - 3, 1), logrows + 4)


class _Reports:
    """Progress of the whole build on standard output; it never goes back."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, phase: str, share: float) -> None:
        start, end = _SPANS.get(phase, (self._last, self._last))
        self._last = max(self._last, start + min(max(share, 0.0), 1.0) * (end - start))
        _say({"phase": phase.replace(" ", "-"), "progress": round(self._last, 3)})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _limit(settings: Settings) -> None:
    """Take less than a proof may, of memory and of time, and be the first to go."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SACRIFICED, encoding="ascii")
    stand_back(settings.build_nice)
    memory = settings.build_memory_bytes or machine_memory() // 2
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main() -> None:
    """Run as ``python -m verinfer.service.builder PARENT``; the argument is the supervisor's process id."""
    die_with_parent()
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
    logs.configure()
    request = json.load(sys.stdin)
    settings = Settings.model_validate(request["settings"])
    _limit(settings)
    with suppress(JailError):  # Where there is no jail, the children say so.
        hide_memory()
    upload = Path(request["upload"])
    try:
        build(read_order(request["order"]), upload, Path(request["out"]), settings, _Reports())
        _say({"done": True})
    except VerinferError as error:
        # Where things lie here is nobody's business.
        message = error.message.replace(f"{upload}/", "").replace(str(upload), "the upload")
        _say({"code": error.code, "message": message, "told": error.code in _TOLD})
    except MemoryError:
        _say({"code": "child-out-of-memory", "message": "", "told": False})
    except Exception:  # noqa: BLE001 - the exit status tells the supervisor, and the log has the rest
        _log.exception("a build failed inside the service")
        sys.exit(1)


if __name__ == "__main__":
    main()
