"""The machine and the versions that a measurement belongs to; seconds and bytes of different ones are never compared."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("verinfer", "ezkl", "onnxruntime", "numpy", "fastapi")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system, versions and commit."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        "load_before": os.getloadavg()[0],
    }


def of_case(machine: Mapping[str, Any]) -> dict[str, str]:
    """What each case of a file keeps of `machine`, as its cases may be measured apart."""
    return {"commit": machine["commit"], "processor": machine["processor"]}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
