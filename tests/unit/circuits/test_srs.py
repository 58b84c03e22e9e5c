"""The SRS: made once, cut canonically, and the ceremony's only if it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verinfer.circuits import srs
from verinfer.circuits.ceremony import CEREMONY_DIGESTS
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.prove import EzklProver
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError
from verinfer.verifier.srs import CEREMONY_CUT, CUT_BYTES

SMALL = 5


def test_the_cut_of_a_k1_file_is_the_file_itself() -> None:
    """EZKL's own k = 1 file has exactly the layout and the Lagrange points that are computed here."""
    made = srs.make_insecure(1)
    assert made.cut == made.path.read_bytes()
    assert len(made.cut) == CUT_BYTES


def test_a_proof_verifies_with_the_cut_as_with_the_full_file(
    quick_package: Package, place: Workplace
) -> None:
    """The 516 bytes are all of the SRS that a verifier reads; another SRS's cut rejects the same proof."""
    inputs = {"habits": [10, -20, 30]}
    witness = EzklProver().forward(quick_package, inputs, place)
    EzklProver().prove(quick_package, witness, bytes(range(32)), place, lambda _phase, _share: None)
    other = place.directory / "other.srs"
    other.write_bytes(srs.make_insecure(SMALL).cut)

    def verify(path: Path) -> bool:
        accepted: bool = place.ezkl(
            "verify",
            proof=place.directory / "proof.json",
            settings=quick_package.path("verify/settings.json"),
            vk=quick_package.path("verify/vk.key"),
            srs=path,
        )
        return accepted

    assert verify(quick_package.path("kzg.srs"))
    assert verify(quick_package.path("verify/kzg1.srs"))
    with pytest.raises(CouldNotCheck):
        verify(other)


def test_a_local_srs_is_made_once() -> None:
    """Two that ask at once get one file; nothing else is left in the cache, and the provenance says what it is."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(srs.make_insecure, (SMALL, SMALL))
    assert first == second == srs.make_insecure(SMALL)
    assert first.provenance == "insecure-local"
    assert first.logrows == SMALL
    kept = {path.name for path in cache_folder("srs").iterdir() if f"-{SMALL}." in path.name}
    assert kept == {f"insecure-local-{SMALL}.srs", f"insecure-local-{SMALL}.lock"}
    assert not list(cache_folder("srs").glob(".*"))


def test_a_torn_local_srs_is_made_again() -> None:
    """A cached file of the wrong length is no SRS; it is replaced."""
    made = srs.make_insecure(2)
    made.path.write_bytes(made.path.read_bytes()[:-1])
    assert srs.make_insecure(2).path.stat().st_size == 4 + 2 * 64 * 4 + 256


@pytest.mark.parametrize("damage", ["empty", "short", "long", "absurd size", "off the curve", "missing"])
def test_a_file_that_is_no_srs_is_malformed(damage: str, tmp_path: Path) -> None:
    """Length, header and the points that the cut is computed from are checked."""
    good = srs.make_insecure(SMALL).path.read_bytes()
    path = tmp_path / "kzg.srs"
    data = {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\0",
        "absurd size": b"\x1b\0\0\0" + good[4:],
        "off the curve": good[:70] + bytes([good[70] ^ 1]) + good[71:],
    }
    if damage in data:
        path.write_bytes(data[damage])
    with pytest.raises(Malformed) as caught:
        srs.open_srs(path)
    assert caught.value.code == "srs-malformed"


def test_only_the_ceremonys_file_is_adopted() -> None:
    """A local SRS is not taken for the ceremony's, whatever its name."""
    made = srs.make_insecure(SMALL)
    with pytest.raises(Rejected) as caught:
        srs.adopt_ceremony(made.path)
    assert caught.value.code == "insecure-srs"
    assert not (cache_folder("srs") / f"ceremony-{SMALL}.srs").exists()
    assert srs.find_ceremony(SMALL) is None


def test_the_table_agrees_with_the_verifier() -> None:
    """All sizes from 1 to 26, each once, and the verifier's constant is the first."""
    assert list(CEREMONY_DIGESTS) == list(range(1, 27))
    assert len(set(CEREMONY_DIGESTS.values())) == 26
    assert CEREMONY_DIGESTS[1] == CEREMONY_CUT


def test_without_a_ceremony_file_nothing_insecure_is_used() -> None:
    """Building with a local SRS has to be asked for by name, also when it is given as a file."""
    made = srs.make_insecure(SMALL)
    with pytest.raises(UsageError, match="--insecure-srs"):
        srs.choose(SMALL, given=None, insecure=False)
    with pytest.raises(UsageError, match="--insecure-srs"):
        srs.choose(SMALL, given=made.path, insecure=False)
    with pytest.raises(UsageError, match="k = 5"):
        srs.choose(SMALL + 1, given=made.path, insecure=True)
    assert srs.choose(SMALL, given=made.path, insecure=True) == made


@pytest.mark.parametrize(
    "home", [None, "", "relative", "/proc/1"], ids=["none", "empty", "relative", "not to be made"]
)
def test_without_a_home_of_ones_own_there_is_no_cache(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    """An SRS is never looked for where others could have put one, such as below the folder for temporary files."""
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
        if home is not None:
            monkeypatch.setenv(name, home)
    with pytest.raises(CouldNotCheck, match="XDG_CACHE_HOME"):
        cache_folder("srs")


def test_the_cache_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is made for its user alone; a relative XDG_CACHE_HOME counts as none; one that others may write to is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = cache_folder("srs")
    assert folder == tmp_path / ".cache" / "verinfer" / "srs"
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        with pytest.raises(CouldNotCheck, match="Others may write"):
            cache_folder("srs")
    folder.chmod(0o755)
    assert cache_folder("srs") == folder


def test_the_cut_is_named_by_its_digest(quick_package: Package) -> None:
    """The manifest names the full SRS and its cut, and both are in the package."""
    system = quick_package.manifest.ezkl
    assert system.srs.cut == sha256(quick_package.path("verify/kzg1.srs").read_bytes())
    assert system.srs.full == sha256(quick_package.path("kzg.srs").read_bytes())
    assert srs.cut(quick_package.path("kzg.srs")) == quick_package.path("verify/kzg1.srs").read_bytes()


def test_a_file_that_only_starts_as_the_ceremonys_is_refused(
    bmi_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut holds the first points only, so provenance needs the digest of the whole file as well."""
    path = bmi_package.path("kzg.srs")
    # The ceremony's own points are not at hand: a local file stands for one that has them.
    monkeypatch.setattr("verinfer.circuits.srs.provenance", lambda _cut: "ceremony")
    with pytest.raises(Rejected) as caught:
        srs.open_srs(path)
    assert caught.value.code == "insecure-srs"
