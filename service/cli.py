"""``verinfer serve``, ``demo`` and ``doctor``: library functions plus arguments, output and an exit code."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import click

from verinfer.verifier.errors import UsageError

from .errors import Refused

Folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("serve")
@click.argument("packages", metavar="[PACKAGE]...", nargs=-1, type=Folder)
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Database and key; one server each."
)
@click.option("--host", help="Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8000; 0 takes a free one.")
@click.option(
    "--allow-uploads",
    is_flag=True,
    default=None,
    help="Let anybody on this machine upload models to be built and served; there are no accounts yet, so loopback only.",
)
@click.option(
    "--insecure-srs",
    is_flag=True,
    default=None,
    help="Build uploads with a local SRS, whose maker can forge proofs: for trials only.",
)
def serve(
    packages: tuple[Path, ...],
    data: Path | None,
    host: str | None,
    port: int | None,
    *,
    allow_uploads: bool | None,
    insecure_srs: bool | None,
) -> None:
    """Serve circuit packages over HTTP until interrupted: those given, and those that were uploaded and built here.

    Other settings come from the environment, VERINFER_BODY_BYTES for example; service/README.md lists them.
    """
    from .server import serve as run
    from .settings import read_settings

    settings = read_settings(
        packages=tuple(path.resolve() for path in packages),
        data=data,
        host=host,
        port=port,
        allow_uploads=allow_uploads,
        build_insecure_srs=insecure_srs,
    )
    if not packages and not settings.allow_uploads:
        raise UsageError("usage", "Give a circuit package to serve, or allow uploads with --allow-uploads.")
    run(settings, _announce, _Compiling())


@click.command("doctor")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The data folder to look at.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor(data: Path | None, *, as_json: bool) -> None:
    """Check that this machine can serve and prove; exit code 0 if it can, 4 if not."""
    from .doctor import examine
    from .settings import read_settings

    findings = examine(read_settings(data=data))
    if as_json:
        click.echo(json.dumps([{"check": f.check, "ok": f.ok, "detail": f.detail} for f in findings]))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check:<12} {finding.detail}")
    failed = [finding.check for finding in findings if not finding.ok]
    if failed:
        if as_json:
            raise SystemExit(4)
        raise Refused("not-fit", f"This machine is not fit to serve: {', '.join(failed)}.")


@click.command("demo")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-out"))
@click.option("--model", type=Folder, help="A model folder; default: the digits CNN of the checkout.")
def demo(out: Path, model: Path | None) -> None:
    """Compile, serve, ask, verify, and see a lie caught; files are left in OUT, a folder for demos only."""
    from .demo import fresh_data, run

    run(model or Path("models/zoo/digits"), out, data=fresh_data(out))


class _Compiling:
    """Says how far the kernels are, in lines, since a server's output is a log as often as a terminal."""

    def __init__(self) -> None:
        self._said = -1

    def __call__(self, phase: str, share: float) -> None:
        """A line for each quarter."""
        quarter = int(share * 4)
        if quarter > self._said:
            self._said = quarter
            click.echo(f"compiling {phase}, once on this machine: {quarter * 25} %", err=True)


def _announce(resources: Any, url: str) -> None:
    settings = resources.settings
    click.echo(f"verinfer serves at {url}")
    click.echo(f"  key id    {resources.issuer}")
    click.echo(f"  data      {settings.data}")
    for package in resources.catalogue:
        model = package.manifest.model
        click.echo(f"  model     {model.name} {model.version}  circuit {package.digest}")
        if package.bundle.insecure_srs:
            _warn(
                f"INSECURE SRS: {model.name} {model.version} has a local SRS; whoever made it can forge proofs."
            )
    if settings.allow_uploads:
        _warn(
            "UPLOADS: anybody on this machine, or behind a proxy to this address, may have models built and served."
        )
        if settings.build_insecure_srs:
            _warn("INSECURE SRS: uploads are built with a local one; whoever made it can forge proofs.")
    if not _is_loopback(settings.host):
        _warn(
            f"NOT PRIVATE: {settings.host} is reachable by others; there is no TLS and no authentication here."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn(text: str) -> None:
    click.secho(text, fg="yellow", bold=True)
