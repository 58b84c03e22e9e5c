"""The structure that everything relies on: one identity per module, the arrows at run time, small files.

import-linter checks the arrows in the source; here are the things that only show in a process or in the tree.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "circuits", "service", "verifier")
CORE = ("click", "cryptography", "pydantic", "rfc8785")
NATIVE = ("ezkl", "onnx", "onnxruntime", "torch")
MOST_LINES = 600

LIST_LOADED = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"


def _sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (ROOT / folder).rglob("*.py")


def _loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh process has loaded after running `code`."""
    command = [sys.executable, "-P", "-c", f"{code}\n{LIST_LOADED}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _imported_packages(source: Path) -> set[str]:
    """The top-level packages that a module imports, anywhere in it; relative imports are left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_no_module_is_loaded_twice() -> None:
    """No file of verinfer is loaded under two names, so each class exists once; pytest has imported all tests by now."""
    importlib.import_module("verinfer.verifier.verify")
    ours = tuple(ROOT / folder for folder in FOLDERS)
    files = [
        Path(file).resolve()
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None))
    ]
    names = Counter(file for file in files if any(file.is_relative_to(folder) for folder in ours))
    assert ROOT / "verifier" / "verify.py" in names
    assert {file for file, count in names.items() if count > 1} == set()
    assert {name for name in sys.modules if name.partition(".")[0] in FOLDERS} == set()


def test_a_prover_loads_its_kernels_from_its_own_folder() -> None:
    """The child that proves with verinfer-sc/1 loads no numba before it knows where kernels are, and never any wire types."""
    loaded = _loaded_by("import verinfer.circuits._sumcheck")
    assert loaded & {*NATIVE, "numba", "numpy", "pydantic"} == set()


def test_verifying_needs_only_the_core_packages() -> None:
    """`verinfer verify` and `verinfer policy` load where nothing but the four core dependencies is installed."""
    others = (
        "alembic",
        "fastapi",
        "httpx",
        "numpy",
        "PIL",
        "rich",
        "sklearn",
        "sqlalchemy",
        "starlette",
        "uvicorn",
    )
    _loaded_by(
        f"import sys; sys.modules.update(dict.fromkeys({(*NATIVE, *others)!r}))\n"
        "import verinfer.verifier.verify, verinfer.verifier.cli\n"
        "import verinfer.verifier.commands.verify, verinfer.verifier.commands.policy"
    )


def test_no_module_of_the_verifier_loads_native_code_or_a_server() -> None:
    """Importing every public module of the verifier loads neither EZKL, ONNX, torch nor anything of the service."""
    modules = [
        ".".join(("verinfer", *source.relative_to(ROOT).with_suffix("").parts))
        for source in _sources("verifier")
        if not source.stem.startswith("_")
    ]
    assert "verinfer.verifier.verify" in modules
    loaded = _loaded_by(f"import {', '.join(modules)}")
    assert loaded & {*NATIVE, "fastapi", "sqlalchemy", "sklearn", "starlette", "uvicorn"} == set()


@pytest.mark.parametrize("module", ["app", "supervisor", "cli"])
def test_processes_of_the_service_load_no_native_code(module: str) -> None:
    """The HTTP application, the supervisor and the command line leave EZKL and ONNX to their children."""
    loaded = _loaded_by(f"import verinfer.service.{module}")
    assert loaded & {*NATIVE, "sklearn"} == set()


def test_commands_of_circuits_start_without_numpy() -> None:
    """`verinfer --help` loads every command, and only children and a fit of costs compute."""
    loaded = _loaded_by("import verinfer.circuits.cli, verinfer.service.cli")
    assert loaded & {*NATIVE, "numpy"} == set()


@pytest.mark.parametrize("module", ["_onnx", "_simulate", "sumcheck._reading"])
def test_children_that_read_models_start_light(module: str) -> None:
    """A compilation starts dozens, each for one call: they load no wire types, and no runtime before a network is run."""
    loaded = _loaded_by(f"import verinfer.circuits.{module}")
    assert "onnx" in loaded
    assert loaded & {"pydantic", "onnxruntime", "ezkl"} == set()


@pytest.mark.parametrize(
    ("package", "importers"),
    [
        ("ezkl", {"circuits/_ezkl.py", "verifier/_ezkl.py"}),
        (
            "onnx",
            {
                "circuits/_meter.py",
                "circuits/_onnx.py",
                "circuits/_simulate.py",
                "circuits/rewrite",
                "circuits/sumcheck/_drafts.py",
                "circuits/sumcheck/_reading.py",
                "models/export.py",
            },
        ),
        (
            "onnxruntime",
            {"circuits/_onnx.py", "circuits/_simulate.py", "circuits/rewrite", "models/export.py"},
        ),
    ],
)
def test_native_packages_are_imported_in_one_place_a_side(package: str, importers: set[str]) -> None:
    """Exactly these modules import the package, and they run inside limited children or at export; the rewrites count as one."""
    rewrites = ROOT / "circuits" / "rewrite"
    found = {
        str((rewrites if source.is_relative_to(rewrites) else source).relative_to(ROOT))
        for source in _sources(*FOLDERS)
        if package in _imported_packages(source)
    }
    assert importers == found


@pytest.mark.parametrize("point", entry_points(group="verinfer.commands"), ids=lambda point: point.name)
def test_every_command_exists(point: EntryPoint) -> None:
    """Each name in pyproject.toml's table of commands leads to a command that says what it does."""
    command = point.load()
    assert isinstance(command, click.Command)
    assert command.get_short_help_str()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_its_specification(folder: str) -> None:
    """A folder's README is its specification, and says in its first line what the folder is for."""
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {folder}: ")


def test_files_are_small() -> None:
    """No Python file is longer than 600 lines."""
    sizes = {
        str(source.relative_to(ROOT)): len(source.read_bytes().splitlines())
        for source in _sources(*FOLDERS, "tests", "scripts")
    }
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}
