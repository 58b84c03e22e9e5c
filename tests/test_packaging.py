"""What is installed is what is tested: wheels hold every module, and the locks agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "circuits", "service", "verifier")
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)


def _build(target: str, checkout: Path, out: Path) -> Path:
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (built,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def _modules(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.removeprefix("verinfer/") for name in archive.namelist() if name.endswith(".py")}


def test_a_wheel_holds_every_module_and_no_weights(tmp_path: Path) -> None:
    """Wheels made from the checkout and from the source archive hold the same: all modules, without the model zoo."""
    expected = {str(file.relative_to(ROOT)) for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}
    wheel = _build("wheel", ROOT, tmp_path / "direct")
    assert expected == _modules(wheel)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if "zoo" in name]
    # So that type checkers of those who install it read our types.
    assert {f"verinfer/{folder}/py.typed" for folder in FOLDERS} <= set(names)

    source_archive = _build("sdist", ROOT, tmp_path)
    subprocess.run([sys.executable, "-m", "tarfile", "-e", str(source_archive), str(tmp_path)], check=True)
    (unpacked,) = (path for path in tmp_path.glob("verinfer-*") if path.is_dir())
    assert expected == _modules(_build("wheel", unpacked, tmp_path / "second"))


def _pins(name: str) -> set[tuple[str, str, str]]:
    return set(PIN.findall((ROOT / "scripts" / "lock" / f"{name}.txt").read_text(encoding="utf-8")))


def test_the_tests_run_with_the_versions_that_the_demo_installs() -> None:
    """Every package of the run lock is in the test lock, in the same version."""
    run, test = _pins("run"), _pins("test")
    assert ("ezkl", "23.0.5", "") in run
    assert run <= test


def test_locks_are_complete_and_say_nothing_of_the_machine_that_made_them() -> None:
    """Each package has a hash; torch is not in, since each of its builds is another file; no address or path is."""
    for name in ("run", "test"):
        text = (ROOT / "scripts" / "lock" / f"{name}.txt").read_text(encoding="utf-8")
        requirements = re.split(r"\n(?=\S)", text)
        unhashed = [item for item in requirements if "==" in item and "--hash=sha256:" not in item]
        assert unhashed == []
        assert "torch" not in {package for package, _, _ in _pins(name)}
        assert re.findall(r"://|--(?:extra-)?index|--find-links|(?<=\s)/\S+", text) == []
