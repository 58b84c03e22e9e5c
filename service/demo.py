"""The whole path in one command: compile, serve, ask, verify, and a lie that is caught.

Every step is a command that a user would type, run as a process of its own, so what is shown is what one gets.
The lie is told by the operator, who holds the signing key: only the proof gives it away.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import httpx

from verinfer.verifier import client, dsse, files, keys, samples
from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.model_spec import RawImage, parse_spec
from verinfer.verifier.receipt import encode_receipt, parse_receipt
from verinfer.verifier.statement import PAYLOAD_TYPE, Predicate, encode_statement
from verinfer.verifier.wire import validate

from .errors import Refused

START_SECONDS = 30.0
_MARK = ".verinfer-demo"
"""Made in a folder that the demo may write to and remove from."""
_INK = " .:-=+*#%@"


def run(model: Path, out: Path, *, data: Path) -> None:
    """Show the whole path with the model folder `model`; leave the files in `out`, and the service's state in `data`.

    `data` comes from `fresh_data`.

    Raises `CouldNotCheck` if a step does not do what it must.
    """
    if not (model / "spec.json").is_file():
        raise UsageError("usage", f"{model} is no model folder; run this from the checkout, or give --model.")
    started = time.monotonic()
    package, sample, nonce = data / "package", _copy_sample(model, out), client.make_nonce()
    files.write_atomically(out / "nonce.txt", f"{nonce}\n".encode())
    for name in ("network.onnx", "spec.json"):
        files.write_atomically(out / name, (model / name).read_bytes())

    _say(1, "Compile the model to a circuit")
    _verinfer("compile", model, "--out", package, "--insecure-srs")
    _say(2, "Rebuild the circuit from the ONNX file, as an auditor would")
    _verinfer("reproduce", package, out / "network.onnx")

    _say(3, "Start the service, and pin its key and the circuit in a signed policy")
    # An earlier demo's.
    (out / "policy.json").unlink(missing_ok=True)
    with serving(package, data) as url:
        _verinfer(
            "policy", "init", package, "--issuer", data / "service.pub.pem", "--out", out / "policy.json",
            "--reproduced", "--allow-insecure-srs",
        )  # fmt: skip
        _verinfer("policy", "sign", out / "policy.json", "--key", out / "owner.pem")
        _say(4, f"Ask about this sample, with the fresh nonce {nonce[:16]}…")
        _show(sample, model)
        _verinfer(
            "infer", sample, "--url", url, "--policy", out / "policy.json", "--owner", out / "owner.pub.pem",
            "--nonce", nonce, "--out", out / "receipt.json", quiet=True,
        )  # fmt: skip

    pins = ("--policy", out / "policy.json", "--owner", out / "owner.pub.pem", "--nonce", nonce)
    _say(5, "The service is gone. Verify the receipt offline, in another process")
    _verinfer("verify", out / "receipt.json", *pins, "--mode", "zk", "--sample", sample)
    _say(6, "Now the operator lies: the answer is changed and signed again with the service's own key")
    _tamper(out / "receipt.json", out / "tampered.json", data / "service.pem")
    _verinfer("verify", out / "tampered.json", *pins, expect=1)
    _say(7, "And an honest receipt does not answer another nonce")
    _verinfer("verify", out / "receipt.json", *pins[:-1], "0" * 64, expect=1)

    click.echo(
        f"\nDone in {time.monotonic() - started:.0f} s. The files are in {out}; check them yourself:\n"
    )
    installed = Path(sys.executable).parent
    if shutil.which("verinfer") != str(installed / "verinfer"):
        click.echo(f"  export PATH={shlex.quote(str(installed))}:$PATH")
    for name in ("receipt.json", "tampered.json"):
        click.echo(f"  {_shown('verify', out / name, *pins)}")
    click.secho(
        "\nINSECURE SRS: this demo made its own SRS. Whoever makes an SRS can forge proofs; real use takes the ceremony's"
        " ('verinfer srs fetch').",
        fg="yellow",
        bold=True,
    )


def _say(step: int, what: str) -> None:
    click.secho(f"\n[{step}/7] {what}", bold=True)


def _copy_sample(model: Path, out: Path) -> Path:
    source = next(
        path for name in ("sample.png", "sample.csv", "sample.json") if (path := model / name).exists()
    )
    files.write_atomically(out / source.name, source.read_bytes())
    return out / source.name


def _show(sample: Path, model: Path) -> None:
    """An image sample as characters, dark on light; nothing for other samples."""
    spec = parse_spec((model / "spec.json").read_bytes()).inputs[0]
    if not isinstance(spec.raw, RawImage):
        return
    pixels = samples.read_sample(sample, [spec])[spec.name]
    inks = [_INK[min(int(pixel * len(_INK) / spec.raw.maximum), len(_INK) - 1)] * 2 for pixel in pixels]
    for row in range(spec.raw.height):
        click.echo("    " + "".join(inks[row * spec.raw.width : (row + 1) * spec.raw.width]))


def _shown(*arguments: str | Path) -> str:
    """A command as a user types it."""
    return shlex.join(["verinfer", *map(str, arguments)])


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "verinfer.verifier", *map(str, arguments)]


def _verinfer(*arguments: str | Path, expect: int = 0, quiet: bool = False) -> None:
    click.secho(f"$ {_shown(*arguments)}", fg="cyan")
    done = subprocess.run(_command(*arguments), check=False, stdout=subprocess.DEVNULL if quiet else None)
    if done.returncode != expect:
        raise CouldNotCheck(
            "demo-failed",
            f"'verinfer {arguments[0]}' ended with {done.returncode}, not {expect}; its words are above.",
        )


@contextmanager
def serving(package: Path, data: Path) -> Iterator[str]:
    """A real server for `package` on a free port, with its state in `data`; gives its URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log = data / "serve.log"
    arguments = ("serve", package, "--data", data, "--port", str(port))
    click.secho(f"$ {_shown(*arguments)}", fg="cyan", err=True)
    with log.open("wb") as sink:
        server = subprocess.Popen(
            _command(*arguments),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(server, url, log)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/v2/health/ready", timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:]
    raise CouldNotCheck("demo-failed", f"The service did not start. Its log ({log}) ends:\n{tail}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tamper(honest: Path, tampered: Path, key: Path) -> None:
    """A copy of a receipt whose first output tensor is reversed, signed again with the service's own key."""
    receipt = parse_receipt(honest.read_bytes())
    predicate = receipt.statement.predicate.to_json()
    predicate["output"][0]["value"] = _other(predicate["output"][0]["value"])
    lie = encode_statement(validate(Predicate, predicate, code="statement-malformed"))
    envelope = dsse.sign(lie, PAYLOAD_TYPE, keys.read_private(key))
    files.write_atomically(tampered, encode_receipt(envelope, receipt.evidence))


def _other(values: Sequence[int]) -> list[int]:
    """The values with the largest and the smallest exchanged: another label, or another figure."""
    changed = list(values)
    high, low = changed.index(max(changed)), changed.index(min(changed))
    changed[high], changed[low] = changed[low], changed[high]
    return changed


def fresh_data(out: Path) -> Path:
    """Make `out`, and in it an empty folder for the service's state; what an earlier demo left there is removed.

    Raises `UsageError` (``exists``) if `out` has files that no demo made, or `Refused` (``data-dir-unusable``).
    """
    data, mark = out / "service", out / _MARK
    try:
        if out.exists() and any(out.iterdir()) and not mark.exists():
            raise UsageError(
                "exists", f"{out} has files that no demo made; give the demo a folder of its own."
            )
        out.mkdir(parents=True, exist_ok=True)
        mark.touch()
        if data.exists():
            shutil.rmtree(data)
        data.mkdir(mode=0o700)
    except OSError as error:
        raise Refused("data-dir-unusable", f"{out}: {error.strerror or error}.") from error
    return data
