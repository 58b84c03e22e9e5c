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


OURS = BUNDLES.parents[1] / "sumcheck" / "receipts" / "shared" / "bundles"


@pytest.fixture
def ours(tmp_path: Path) -> list[Path]:
    """The bundles of verinfer-sc/1 among the vectors, as packages."""
    homes = []
    for bundle in sorted(OURS.iterdir()):
        homes.append(tmp_path / f"ours-{bundle.name[:8]}")
        shutil.copytree(bundle, homes[-1] / "verify")
    return homes


def test_a_policy_names_the_systems_of_its_packages(
    packages: dict[str, Path], ours: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so; of EZKL alone nothing is written, so that verifiers that know no other still read it."""
    for given, systems in (
        (ours, ["verinfer-sc-1"]),
        ([packages["bmi hashed"], packages["breast_cancer public"]], None),
        ([ours[0], packages["bmi public"]], ["ezkl-halo2-kzg", "verinfer-sc-1"]),
    ):
        _init(tmp_path, *given)
        policy = tmp_path / "policy.json"
        assert json.loads(policy.read_text()).get("proof_systems") == systems
        named = ", ".join(systems or ["ezkl-halo2-kzg"])
        assert f"accepts proofs of {named}," in capsys.readouterr().out
        command.main(["show", str(policy)], standalone_mode=False)
        assert f"systems    {named}" in capsys.readouterr().out
        policy.unlink()


def test_a_package_of_ours_needs_no_word_for_an_srs(ours: list[Path], tmp_path: Path) -> None:
    """Only a local SRS has to be allowed by name; beside the policy lie the files of each system's bundle, and no others."""
    (ours[0] / "verify" / "vk.key").write_bytes(b"another system's")
    issuer, out = tmp_path / "key.pem", tmp_path / "policy.json"
    issuer.write_bytes(keys.public_pem(Ed25519PrivateKey.generate().public_key()))
    command.main(["init", *map(str, ours), "--issuer", str(issuer), "--out", str(out)], standalone_mode=False)
    assert json.loads(out.read_text())["relaxations"] == []
    for bundle in OURS.iterdir():
        kept = {path.name for path in (tmp_path / "bundles" / bundle.name).iterdir()}
        assert kept == {"manifest.json", "description.json", "key.proof"}
