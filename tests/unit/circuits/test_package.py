"""A package on disk: what is in it, and that nothing torn or exchanged is ever used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from verinfer.circuits.package import PARTS, Package, open_package
from verinfer.verifier import strict_json
from verinfer.verifier.bundle import open_bundle, read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, VerinferError
from verinfer.verifier.settings import canonical_settings

EZKL = PARTS["ezkl-halo2-kzg"]


@pytest.fixture
def copy(quick_package: Package, tmp_path: Path) -> Path:
    """A package that a test may damage."""
    return Path(shutil.copytree(quick_package.folder, tmp_path / "package"))


def _reindex(folder: Path, part: str) -> None:
    path = folder / "package.json"
    index = json.loads(path.read_bytes())
    index["files"][part] = sha256((folder / part).read_bytes())
    path.write_bytes(json.dumps(index).encode())


def test_the_folder_holds_what_it_lists(quick_package: Package) -> None:
    """The parts, the bundle and the index; nothing else is published."""
    found = {
        str(path.relative_to(quick_package.folder))
        for path in quick_package.folder.rglob("*")
        if path.is_file()
    }
    assert found == {*EZKL.all, "package.json"}


def test_weights_are_readable_by_their_owner_only(quick_package: Package) -> None:
    """Keys and circuits hold the weights in clear."""
    modes = {part: quick_package.path(part).stat().st_mode & 0o777 for part in EZKL.all}
    assert {part for part, mode in modes.items() if mode == 0o600} == set(EZKL.secret)
    assert set(modes.values()) == {0o600, 0o644}


def test_the_manifest_is_the_identity(quick_package: Package) -> None:
    """The circuit's digest is that of the manifest's canonical bytes, and the bundle opens with it alone."""
    data = quick_package.path("verify/manifest.json").read_bytes()
    assert strict_json.canonical(strict_json.parse(data, limit=1 << 20)) == data
    assert quick_package.digest == sha256(data) == quick_package.manifest.digest
    assert (
        open_bundle(read_files(quick_package.path("verify")), quick_package.digest).manifest
        == quick_package.manifest
    )


def test_settings_are_canonical_and_hold_nothing_private(quick_package: Package) -> None:
    """One circuit has one settings file: no timestamp, arrays sorted, no flag that removes a check."""
    data = quick_package.path("verify/settings.json").read_bytes()
    settings = json.loads(data)
    assert canonical_settings(data) == data
    assert "timestamp" not in settings
    args = settings["run_args"]
    visibilities = (args["input_visibility"], args["output_visibility"], args["param_visibility"])
    assert visibilities == ("Public", "Public", "Fixed")
    assert args["ignore_range_check_inputs_outputs"] is False
    assert args["decomp_base"] ** args["decomp_legs"] >= 65536


@pytest.mark.parametrize("part", EZKL.all)
def test_a_flipped_bit_is_found(part: str, copy: Path) -> None:
    """Opening reads every file again; one bit anywhere is enough to refuse."""
    data = bytearray((copy / part).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / part).write_bytes(data)
    with pytest.raises(CouldNotCheck) as caught:
        open_package(copy)
    assert caught.value.code == "artifact-torn"


@pytest.mark.parametrize("part", [*EZKL.all, "package.json"])
def test_a_missing_file_is_named(part: str, copy: Path) -> None:
    """Nothing is optional."""
    (copy / part).unlink()
    with pytest.raises(CouldNotCheck, match=part.replace(".", r"\.")) as caught:
        open_package(copy)
    assert caught.value.code == "file-missing"


@pytest.mark.parametrize("part", ["kzg.srs", "verify/vk.key", "verify/settings.json", "verify/kzg1.srs"])
def test_an_exchanged_file_is_found_although_the_index_agrees(part: str, copy: Path) -> None:
    """The manifest binds vk, settings and SRS: whoever rewrites the index as well gains nothing."""
    (copy / part).write_bytes((copy / part).read_bytes()[:-1] + b"\xff")
    _reindex(copy, part)
    with pytest.raises(VerinferError) as caught:
        open_package(copy)
    assert caught.value.code in {"bundle-mismatch", "package-malformed"}


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("files"),
        lambda index: index.update(more=1),
        lambda index: index["files"].pop("pk.key"),
        lambda index: index["files"].update({"../outside": "0" * 64}),
        lambda index: index.update(type="urn:verinfer:package:v2"),
        lambda index: index.update(circuit="0" * 64),
        lambda index: index["measured"].update(prove_ms=-1),
    ],
    ids=[
        "no files",
        "unknown field",
        "part left out",
        "part outside",
        "other type",
        "other circuit",
        "negative time",
    ],
)
def test_an_index_that_says_nonsense_is_malformed(change: object, copy: Path) -> None:
    """The index is read strictly, and lists exactly a package's files."""
    index = json.loads((copy / "package.json").read_bytes())
    assert callable(change)
    change(index)
    (copy / "package.json").write_text(json.dumps(index))
    with pytest.raises(Malformed) as caught:
        open_package(copy)
    assert caught.value.code == "package-malformed"
