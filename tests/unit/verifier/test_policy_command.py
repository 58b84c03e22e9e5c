"""``verinfer policy init``: what it refuses to put into one policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.verifier import keys
from verinfer.verifier.commands.policy import command
from verinfer.verifier.errors import UsageError
from verinfer.verifier.manifest import parse_manifest

BUNDLES = Path(__file__).parents[2] / "vectors" / "shared" / "bundles"


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    """The bundles of the vectors as packages, by their models' names and how they hide inputs."""
    found = {}
    for bundle in BUNDLES.iterdir():
        manifest = parse_manifest((bundle / "manifest.json").read_bytes())
        home = tmp_path / bundle.name[:8]
        shutil.copytree(bundle, home / "verify")
        found[f"{manifest.model.name} {manifest.visibility}"] = home
    return found


def _init(home: Path, *words: str | Path) -> None:
    issuer = home / "issuer.pem"
    issuer.write_bytes(keys.public_pem(Ed25519PrivateKey.generate().public_key()))
    fixed = ("--issuer", issuer, "--out", home / "policy.json", "--allow-insecure-srs")
    command.main(["init", *map(str, (*words, *fixed))], standalone_mode=False)


@pytest.mark.parametrize("other", ["bmi hashed", "bmi private"])
def test_a_policy_pins_one_way_of_showing_a_models_input(
    packages: dict[str, Path], other: str, tmp_path: Path
) -> None:
    """Else the operator could choose how much of it the answer tells; other models may do otherwise."""
    with pytest.raises(UsageError, match="hide them"):
        _init(tmp_path, packages["bmi public"], packages[other])
    assert not (tmp_path / "policy.json").exists()
    _init(tmp_path, packages["breast_cancer public"], packages[other])
    assert len(json.loads((tmp_path / "policy.json").read_text())["models"]) == 2


@pytest.mark.parametrize("name", ["bmi hashed", "bmi private"])
def test_a_policy_takes_no_fp32_answers_of_a_model_that_hides_its_input(
    packages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    """They would name it."""
    with pytest.raises(UsageError, match="--runtime"):
        _init(tmp_path, packages[name], "--runtime", "onnxruntime 1.32.0")
    assert not (tmp_path / "policy.json").exists()
