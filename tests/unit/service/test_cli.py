from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from verinfer.circuits.package import Package
from verinfer.service import doctor
from verinfer.service.cli import doctor as doctor_command
from verinfer.service.cli import serve
from verinfer.service.doctor import Finding, examine
from verinfer.service.errors import Refused
from verinfer.service.settings import Settings, read_settings
from verinfer.verifier.errors import UsageError, VerinferError


def test_this_machine_is_fit(tmp_path: Path) -> None:
    """Every check is made for real, and passes where the tests run."""
    findings = examine(Settings(data=tmp_path / "new"))
    assert [finding.check for finding in findings if not finding.ok] == []
    assert [finding.check for finding in findings][:4] == ["python", "ezkl", "onnxruntime", "jail"]


def test_a_data_folder_that_others_can_read_is_found(tmp_path: Path) -> None:
    """A key that is readable by others is named."""
    tmp_path.chmod(0o700)
    key = tmp_path / "service.pem"
    key.write_text("secret")
    key.chmod(0o644)
    result = CliRunner().invoke(doctor_command, ["--data", str(tmp_path), "--json"])
    assert result.exit_code == 4
    failed = [finding for finding in json.loads(result.stdout) if not finding["ok"]]
    assert [finding["check"] for finding in failed] == ["data folder"]
    assert "service.pem" in failed[0]["detail"]


def test_a_data_folder_that_cannot_be_made_is_found() -> None:
    """Not only on the first start of the server."""
    findings = examine(Settings(data=Path("/proc/none/data")))
    [data] = [finding for finding in findings if finding.check == "data folder"]
    assert not data.ok
    assert "cannot be made" in data.detail


def test_a_jail_that_leaks_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the child gets a socket, the check says so and the command fails."""
    monkeypatch.setattr(
        doctor, "_probe", lambda function, **_: ["IPv4 socket"] if function == "escapes" else "1.0"
    )
    jail = next(finding for finding in examine(Settings(data=tmp_path / "new")) if finding.check == "jail")
    assert jail == Finding("jail", ok=False, detail="a child could open: IPv4 socket")
    with pytest.raises(Refused, match="not-fit"):
        CliRunner().invoke(doctor_command, ["--data", str(tmp_path / "new")], catch_exceptions=False)


def test_a_jail_that_is_not_whole_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On an older kernel the check passes, since children are confined, and its words name what they can still reach."""
    monkeypatch.setattr(doctor, "lacking", lambda: ("native code can read all files",))
    jail = next(finding for finding in examine(Settings(data=tmp_path / "new")) if finding.check == "jail")
    assert jail.ok
    assert jail.detail.endswith("start no program; but native code can read all files")


def test_the_probe_finds_open_ways_out() -> None:
    """Outside a jail the same probe opens its sockets, so its silence inside one means something."""
    program = "import os, verinfer.service._probe as p; os.execv = lambda *a: (_ for _ in ()).throw(PermissionError())"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(p.escapes())"], check=True, capture_output=True, text=True
    )
    assert "IPv4 socket" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value"), [("BODY_BYTES", "0"), ("PORT", "70000"), ("QUEUE_LIMIT", "many")]
)
def test_a_bad_setting_is_named(
    bmi_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The message says which variable of the environment is wrong."""
    monkeypatch.setenv(f"VERINFER_{variable}", value)
    with pytest.raises(UsageError, match=f"VERINFER_{variable}"):
        CliRunner().invoke(serve, [str(bmi_package.folder), "--data", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(UsageError, match=f"VERINFER_{variable}"):
        CliRunner().invoke(doctor_command, [], catch_exceptions=False)


def test_a_setting_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the value is no JSON, which a list of packages would be."""
    monkeypatch.setenv("VERINFER_PACKAGES", "here")
    with pytest.raises(UsageError, match="packages"):
        CliRunner().invoke(doctor_command, [], catch_exceptions=False)


def test_a_user_without_a_home_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container with a user id of its own: without --data there is a message, with it there is no need of a home."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match="--data"):
        read_settings()
    assert read_settings(data=tmp_path).data == tmp_path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{package}", "{package}"], "package-repeated"),
        (["{empty}"], "file-missing"),
        (["{package}", "--data", "{file}"], "data-dir-unusable"),
        (["{package}", "--host", "192.0.2.1"], "address-in-use"),
        (["{package}", "--host", "0.0.0.0", "--port", "0", "--allow-uploads"], "usage"),  # noqa: S104 - it must be refused
        ([], "usage"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    bmi_package: Package, tmp_path: Path, arguments: list[str], code: str
) -> None:
    """A code instead of a traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    places = {"package": bmi_package.folder, "empty": tmp_path / "empty", "file": tmp_path / "file" / "data"}
    words = [word.format(**places) for word in arguments]
    if "--data" not in words:
        words += ["--data", str(tmp_path / "data")]
    with pytest.raises(VerinferError) as caught:
        CliRunner().invoke(serve, words, catch_exceptions=False)
    assert caught.value.code == code
