"""A really full disk: a small file system that the test mounts in a user namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from verinfer.circuits.package import Package

_COMPILE = """
import os, sys
from pathlib import Path
from verinfer.circuits.compile import compile_model
from verinfer.verifier.errors import VerinferError
model, disk = Path(sys.argv[1]), Path(sys.argv[2])
try:
    compile_model(model, disk / "out", srs=None, insecure_srs=True, on_progress=lambda phase, share: None)
except VerinferError as error:
    print(error.code, sorted(os.listdir(disk)))
"""


def _on_disk(size: str, disk: Path, program: str, *arguments: Path) -> str:
    script = f'mount -t tmpfs -o size={size} tmpfs "$1" || exit 77; shift; exec "$@"'
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare (util-linux) to mount a small file system with")
    command = ["sh", "-c", script, "sh", str(disk), sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this system does not let a test mount a file system: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("size", ["48k", "200k", "2m", "4m"])
def test_a_full_disk_is_named_and_leaves_nothing(size: str, quick: Path, tmp_path: Path) -> None:
    """Wherever the space ends (wrapping, the compiled circuit, pk, copying), the code is the same and the disk is clean."""
    disk = tmp_path / "disk"
    disk.mkdir()
    assert _on_disk(size, disk, _COMPILE, quick, disk) == "disk-full []"


_REPRODUCE = """
import os, sys, tempfile
from pathlib import Path
from verinfer.circuits.package import open_package
from verinfer.circuits.reproduce import reproduce
from verinfer.verifier.errors import VerinferError
package, network, tempfile.tempdir = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
try:
    reproduce(open_package(package), network, spec=None, on_progress=lambda phase, share: None)
except VerinferError as error:
    print(error.code, sorted(os.listdir(tempfile.tempdir)))
"""


def test_a_full_disk_is_no_verdict_on_a_package(quick_package: Package, quick: Path, tmp_path: Path) -> None:
    """An auditor without room for the keys hears of that, not that the package is not reproduced."""
    disk = tmp_path / "disk"
    disk.mkdir()
    given = (quick_package.folder, quick / "network.onnx", disk)
    assert _on_disk("2m", disk, _REPRODUCE, *given) == "disk-full []"


_FORWARD = """
import sys
from pathlib import Path
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.package import open_package
from verinfer.circuits.provers import prover_for
from verinfer.verifier.errors import VerinferError
package, disk = open_package(Path(sys.argv[1])), Path(sys.argv[2])
(disk / "ballast").write_bytes(bytes(int(sys.argv[3])))
try:
    prover_for(package.manifest).forward(
        package, {"habits": [1, 2, 3]}, Workplace(directory=disk, limits=PARSE_LIMITS)
    )
except VerinferError as error:
    print(error.code)
"""


def test_a_full_disk_is_not_taken_for_a_bad_input(quick_package: Package, tmp_path: Path) -> None:
    """EZKL does not notice that its witness was cut short; the client must not be told that the input is out of range."""
    disk = tmp_path / "disk"
    disk.mkdir()
    # Six pages: five taken, one for the input, none for the witness.
    got = _on_disk("24k", disk, _FORWARD, quick_package.folder, disk, Path("20480"))
    assert got in {"artifact-torn", "disk-full"}
