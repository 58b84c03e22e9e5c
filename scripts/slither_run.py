"""Runs slither on verinfer's own contracts with the compiler that verinfer pins, and writes down what it finds.

slither asks a program ``solc``; here that is this file, which passes the question on to `solc.standard_json`.
A finding of high or medium impact is an error; where it is none, a comment ``slither-disable-next-line`` says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from verinfer.verifier.digest import sha256
from verinfer.verifier.evm import descriptor, solc

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "scripts" / "benchmarks" / "results"
SLITHER = ROOT / ".cache" / "slither" / "bin" / "slither"
GRAVE = ("High", "Medium")


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=RESULTS.name
)
@click.option("--json", "as_json", is_flag=True, help="The results as JSON on standard output.")
def run(out: Path, *, as_json: bool) -> None:
    """Look at the contracts; some seconds."""
    version, found = _analysed()
    findings = sorted((_read(each) for each in found), key=lambda each: (each["check"], each["where"]))
    grave = [each for each in findings if each["impact"] in GRAVE]
    results = {
        "tool": f"slither-analyzer {version}",
        "compiler": f"solc {solc.version()}",
        "sources": {name: sha256(text.encode()) for name, text in descriptor.own_sources().items()},
        "high_or_medium": len(grave),
        "findings": findings,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "slither.json").write_text(json.dumps(results, indent=1) + "\n")
    for each in findings:
        click.echo(f"{each['impact']}: {each['said']}", err=True)
    click.echo(f"{len(findings)} findings, {len(grave)} of high or medium impact", err=True)
    if as_json:
        click.echo(json.dumps(results))
    sys.exit(bool(grave))


def _analysed() -> tuple[str, list[dict[str, Any]]]:
    """Slither's version, and what it found."""
    with tempfile.TemporaryDirectory(prefix="verinfer-slither-") as name:
        folder = Path(name)
        question, answer, compiler = folder / "input.json", folder / "answer.json", folder / "solc"
        sources = {file: {"content": text} for file, text in descriptor.own_sources().items()}
        question.write_text(json.dumps({"language": "Solidity", "sources": sources}))
        compiler.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{Path(__file__).resolve()}" solc "$@"\n')
        compiler.chmod(0o700)
        command = [
            *(
                str(SLITHER),
                str(question),
                "--compile-force-framework",
                "solc-json",
                "--solc-disable-warnings",
            ),
            *("--solc-args=--optimize", "--json", str(answer), "--no-fail-pedantic"),
        ]
        done = subprocess.run(
            command,
            cwd=solc.CONTRACTS,  # it reads the sources again, to find lines
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not answer.is_file():
            raise click.ClickException(f"slither failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        told = json.loads(answer.read_text())
        if not told["success"]:
            raise click.ClickException(f"slither failed: {told['error']}")
    asked = subprocess.run([str(SLITHER), "--version"], capture_output=True, text=True, check=True)
    return asked.stdout.strip(), told["results"].get("detectors", [])


def _read(found: dict[str, Any]) -> dict[str, str]:
    """Of a finding what is worth keeping."""
    first: dict[str, Any] = next(iter(found["elements"]), {"name": "all files"})
    parent = first.get("type_specific_fields", {}).get("parent", {}).get("name")
    return {
        "check": found["check"],
        "impact": found["impact"],
        "confidence": found["confidence"],
        "where": f"{parent}.{first['name']}" if parent else first["name"],
        "said": found["description"].strip(),
    }


def _compile(arguments: list[str]) -> None:
    """Be the compiler: its version, or the answer to a question in standard JSON."""
    if arguments[:1] == ["--version"]:
        print(f"solc, the solidity compiler commandline interface\nVersion: {solc.version()}")
        return
    print(json.dumps(solc.standard_json(json.load(sys.stdin))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["solc"]:
        _compile(sys.argv[2:])
    else:
        run()
