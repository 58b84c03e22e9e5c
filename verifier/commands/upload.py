"""``verinfer upload``: have a service build a model, and get what its owner must check before signing anything."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, get_args

import click

from .. import files, keys, uploads
from ..bundle import Bundle
from ..errors import UsageError
from ..manifest import Visibility
from ..model_spec import SPEC_LIMIT, parse_spec
from ..terminal import say
from ..uploads import Upload
from .connection import open_client, progress
from .verify import Existing

_MINE = ("data", "name", "version", "task", "labels", "cut_head")


@click.command("upload")
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service is.")
@click.option(
    "--data",
    type=Existing,
    help="For a bare ONNX file: an NPZ of samples, and their answers as `expected`; the first 600 count.",
)
@click.option("--name", help="For a bare ONNX file: the model's name; default: the file's.")
@click.option("--version", help="For a bare ONNX file: the model's version; default: 1.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="For a bare ONNX file.")
@click.option(
    "--labels", type=Existing, help="For a bare ONNX file: the classes, one a line; default: 0, 1, 2, ..."
)
@click.option(
    "--cut-head", is_flag=True, help="For a bare ONNX file: leave a last Softmax or ArgMax to the client."
)
@click.option(
    "--target",
    metavar="TEXT",
    help='What the circuit must meet, as "accuracy>=0.995, memory<=8GB, time<=30s"; for a regression "error<=0.02".',
)
@click.option("--budget", help="After this no more trial proofs are made, 90s or 5m for example.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples that one proof covers; default: 1.")
@click.option(
    "--inputs",
    type=click.Choice(get_args(Visibility)),
    help="What a proof shows of the input: its values; a hash of them and the client's salt; or nothing. Default: public.",
)
@click.option("--job", help="Wait for this earlier upload of the same model; nothing is sent.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The folder for what you must check; default: NAME-VERSION.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=86_400.0, show_default=True, help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
def command(
    model: Path,
    url: str,
    job: str | None,
    out: Path | None,
    timeout: float,
    *,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Upload MODEL to a service, which builds its circuit and serves it, and fetch what you need to check that.

    MODEL is a model folder (network.onnx, spec.json, samples.npz), or an ONNX file with --data.
    The service's operator could have built another circuit: run 'verinfer reproduce' before you sign a policy.
    An interruption leaves the build running; --job waits for it again.
    """
    upload, name, version = _read(model, **wishes)
    out = out or Path(f"{name}-{version}")
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another --out.")
    with open_client(url) as http, progress(quiet=as_json) as on_progress:
        if job is None:
            job = uploads.submit(http, upload, seconds=timeout, on_progress=on_progress)
            say(f"the build is job {job}", err=True)
        built = uploads.wait(http, job, seconds=timeout, on_progress=on_progress)
        if (built.model, built.version) != (name, version):
            raise UsageError("usage", f"That job built {built.model} {built.version}, not {name} {version}.")
        bundle = uploads.fetch(
            http, built, out, on_progress, batch=wishes["batch"] or 1, inputs=wishes["inputs"] or "public"
        )
    steps = _steps(model, out, bundle, **wishes)
    key = keys.key_id(keys.read_public(out / "service.pub.pem"))
    if as_json:
        facts = {
            "model": name,
            "version": version,
            "circuit": bundle.circuit,
            "srs": bundle.provenance,
            "job": job,
            "issuer": key,
            "saved": str(out),
            "next": steps,
        }
        click.echo(json.dumps(facts))
        return
    srs = "" if bundle.provenance == "transparent" else "its SRS, "
    lines = [
        f"built {name} {version}: circuit {bundle.circuit}",
        f"saved {out}: its verify bundle, {srs}and the key that the service says is its own, {key}",
        *(["INSECURE SRS: whoever made it can forge proofs; for trials only"] if bundle.insecure_srs else []),
        "",
        "THE SERVICE BUILT IT: that it is your model, and whose the key is, you must check before you sign anything.",
        "Compare the key's id with what the operator tells you another way; then, on a machine of yours:",
        *(f"  {step}" for step in steps),
    ]
    say("\n".join(lines))


def _read(model: Path, **wishes: Any) -> tuple[Upload, str, str]:
    """What to send, and the model's name and version; raises `UsageError` or `Malformed`."""
    texts = {
        name: str(wishes[name])
        for name in ("target", "budget", "batch", "inputs")
        if wishes[name] is not None
    }
    if model.is_dir():
        if any(wishes[name] for name in _MINE):
            raise UsageError("usage", "A model folder says itself what the options for bare ONNX files say.")
        parts = {
            "model": model / "network.onnx",
            "samples": model / "samples.npz",
            "spec": model / "spec.json",
        }
        spec = parse_spec(files.read(parts["spec"], limit=SPEC_LIMIT))
        name, version = spec.name, spec.version
    else:
        if wishes["data"] is None:
            raise UsageError("usage", f"{model} is a file; give its samples with --data FILE.npz.")
        name, version = wishes["name"] or model.stem, wishes["version"] or "1"
        parts = {"model": model, "samples": wishes["data"]}
        if wishes["labels"] is not None:
            parts["labels"] = wishes["labels"]
        texts |= {"name": name, "version": version}
        if wishes["task"] is not None:
            texts["task"] = wishes["task"]
        if wishes["cut_head"]:
            texts["cut_head"] = "true"
    for path in parts.values():
        if not path.is_file():
            raise UsageError("usage", f"{path} is not there.")
    return Upload(files=parts, texts=texts), name, version


def _steps(model: Path, out: Path, bundle: Bundle, **wishes: Any) -> list[str]:
    """The commands that come next, as this owner would type them."""
    check = ["verinfer", "reproduce", str(out)]
    if model.is_dir():
        check += [str(model / "network.onnx"), "--samples", str(model / "samples.npz")]
    else:
        check.append(str(model))
        for name in _MINE:
            if wishes[name] is not None and wishes[name] is not False:
                check += [
                    f"--{name.replace('_', '-')}",
                    *([] if wishes[name] is True else [str(wishes[name])]),
                ]
    if wishes["target"]:
        check += ["--target", wishes["target"]]
    policy = [
        "verinfer",
        "policy",
        "init",
        str(out),
        "--issuer",
        str(out / "service.pub.pem"),
        "--reproduced",
    ]
    if bundle.insecure_srs:
        policy.append("--allow-insecure-srs")
    sign = ["verinfer", "policy", "sign", "policy.json", "--key", "owner.pem"]
    return [shlex.join(step) for step in (check, policy, sign)]
