"""The commands of circuits: library functions plus arguments and output."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import TypeAdapter, ValidationError

from verinfer.verifier import files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import UsageError
from verinfer.verifier.evm.costs import read_rates
from verinfer.verifier.manifest import MOST_BATCHED, Visibility
from verinfer.verifier.terminal import say
from verinfer.verifier.wire import Name

from . import estimate as estimates
from . import kernels, on_chain, plots
from . import profile as profiles
from . import srs as srs_files
from .adopt import Given, Task, make_folder
from .compile import compile_model
from .cost import load_coefficients
from .fit import fit as fit_costs
from .native import Workplace, heavy_limits
from .package import Download, Package, open_package, open_published
from .reproduce import reproduce as rebuild
from .sumcheck.kernel_cache import ready_folder
from .systems.choice import choose as choose_system
from .systems.port import SystemName, Wishes
from .targets import BUDGET, parse_seconds, parse_targets

Folder = click.Path(path_type=Path, exists=True, file_okay=False)
File = click.Path(path_type=Path, exists=True, dir_okay=False)
Either = click.Path(path_type=Path, exists=True)


_batch = click.option(
    "--batch",
    type=click.IntRange(1, MOST_BATCHED),
    default=1,
    show_default=True,
    help="Samples that one proof covers: a client sends exactly so many at once, and each gets its answer.",
)


_inputs = click.option(
    "--inputs",
    type=click.Choice(get_args(Visibility)),
    default="public",
    show_default=True,
    help="What a proof shows of the input: its values; a hash of them and the client's salt; or nothing at all.",
)


_BARE = (
    click.option(
        "--data",
        type=File,
        help="For a bare ONNX file: an NPZ of samples, and their answers as `expected`; the first 600 count.",
    ),
    click.option("--name", help="For a bare ONNX file: the model's name; default: the file's."),
    click.option("--version", help="For a bare ONNX file: the model's version; default: 1."),
    click.option("--task", type=click.Choice(["classification", "regression"]), help="For a bare ONNX file."),
    click.option(
        "--labels", type=File, help="For a bare ONNX file: the classes, one a line; default: 0, 1, 2, ..."
    ),
    click.option(
        "--cut-head",
        is_flag=True,
        help="For a bare ONNX file: leave a last Softmax or ArgMax to the client; its scores say the same label.",
    ),
)


def _bare(command: Callable[..., None]) -> Callable[..., None]:
    """The options with which the owner of a bare ONNX file says what a spec would."""
    for option in reversed(_BARE):
        command = option(command)
    return command


class _Duration(click.ParamType[float]):
    """Seconds from texts like 90, 90s, 5m, 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds, or a usage error."""
        try:
            return parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("compile")
@click.argument("model", type=Either)
@_bare
@click.option(
    "--target",
    default="",
    metavar="TEXT",
    help='What the circuit must meet, as "accuracy>=0.995, memory<=8GB, time<=30s"; for a regression "error<=0.02"; '
    'with "evm" the circuit that meets it in the least gas on chain is wanted, not the fastest.',
)
@click.option(
    "--budget",
    type=_Duration(),
    default=BUDGET,
    show_default="5m",
    help="After this no more trial proofs are made.",
)
@_batch
@_inputs
@click.option(
    "--system",
    type=click.Choice(["auto", *get_args(SystemName)]),
    default="auto",
    show_default=True,
    help="The proof system: sumcheck is verinfer-sc/1, our own and fast, which hides nothing; ezkl can hide inputs, and"
    " contracts check it; auto takes sumcheck where it can do what is asked.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The package's folder; must not exist."
)
@click.option("--srs", type=File, help="A full SRS file; default: the ceremony's from the cache.")
@click.option(
    "--insecure-srs", is_flag=True, help="Use a local SRS, whose maker can forge proofs: for trials only."
)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def compile_(
    model: Path,
    out: Path,
    srs: Path | None,
    target: str,
    budget: float,
    batch: int,
    inputs: Visibility,
    system: str,
    *,
    insecure_srs: bool,
    as_json: bool,
    **bare: Any,
) -> None:
    """Compile MODEL to a circuit package: a model folder (network.onnx, spec.json, samples.npz), or an ONNX file with --data.

    The circuit that meets the targets and is proved fastest is searched; without any, 99.5 % of labels must be the fp32 model's.
    """
    targets = parse_targets(target)
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another --out.")
    with _progress(quiet=as_json) as on_progress, _as_folder(model, **bare) as folder:
        package = compile_model(
            folder,
            out,
            srs=srs,
            insecure_srs=insecure_srs,
            on_progress=on_progress,
            targets=targets,
            budget=budget,
            batch=batch,
            inputs=inputs,
            system=next((name for name in get_args(SystemName) if name == system), None),
        )
    _print_card(package, as_json=as_json)


@click.command("warmup")
@click.option("--json", "as_json", is_flag=True)
def warmup(*, as_json: bool) -> None:
    """Compile what makes proofs of verinfer-sc/1 fast on this machine: once for each version, about half a minute.

    'verinfer compile' and 'verinfer serve' do it where it is needed; this is for images and for machines that are set up ahead.
    """
    with _progress(quiet=as_json) as on_progress:
        made = kernels.make(on_progress)
    if as_json:
        click.echo(json.dumps({"compiled": made, "folder": str(ready_folder())}))
    else:
        click.echo("kernels compiled" if made else "kernels are compiled already")


@contextmanager
def _as_folder(
    model: Path,
    *,
    data: Path | None,
    name: str | None,
    version: str | None,
    task: Task | None,
    labels: Path | None,
    cut_head: bool,
) -> Iterator[Path]:
    """The model folder itself, or one made for a while from a bare ONNX file."""
    if model.is_dir():
        if cut_head or any(item is not None for item in (data, name, version, task, labels)):
            raise UsageError(
                "usage",
                "--data, --name, --version, --task, --labels and --cut-head go with an ONNX file, not with a folder.",
            )
        yield model
        return
    if data is None:
        raise UsageError("usage", f"{model} is a file; give its samples with --data FILE.npz.")
    given = Given(
        onnx=model,
        samples=data,
        name=_model_name(name or model.stem, "--name"),
        version=_model_name(version or "1", "--version"),
        task=task,
        labels=None if labels is None else _read_lines(labels),
        without_head=cut_head,
    )
    with tempfile.TemporaryDirectory(prefix="verinfer-adopt-") as aside:
        place = Workplace(directory=Path(aside), limits=heavy_limits())
        make_folder(given, Path(aside) / "model", place)
        yield Path(aside) / "model"


def _model_name(name: str, option: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UsageError(
            "usage",
            f"{name!r} cannot be a model's {option[2:]}: letters, digits, '.', '_' and '-', at most 64; give one with {option}.",
        ) from error


def _read_lines(path: Path) -> list[str]:
    try:
        return files.read(path, limit=1 << 20).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError("usage", f"{path} is not UTF-8.") from error


@click.command("reproduce")
@click.argument("package", type=Folder)
@click.argument("network", type=File)
@click.option(
    "--spec", type=File, help="The model's published spec; default: spec.json beside NETWORK, if there."
)
@click.option(
    "--target", default="", metavar="TEXT", help='What you accept, as "accuracy>=0.99" or "error<=0.05".'
)
@click.option(
    "--samples",
    type=File,
    help="An NPZ of your own, in raw units; default: the package's, which its owner chose.",
)
@_bare
@click.option("--json", "as_json", is_flag=True)
def reproduce(
    package: Path,
    network: Path,
    spec: Path | None,
    target: str,
    samples: Path | None,
    *,
    as_json: bool,
    **bare: Any,
) -> None:
    """Rebuild PACKAGE's circuit from the ONNX file NETWORK, and say whether it is that model.

    PACKAGE may also be the folder that 'verinfer upload' saved. For a bare ONNX file of your own give the options with which
    it was compiled or uploaded: samples and meaning are then yours.
    """
    targets = parse_targets(target)
    with (
        _progress(quiet=as_json) as on_progress,
        _published(package, network, spec=spec, samples=samples, **bare) as (published, shown),
    ):
        result = rebuild(
            _require_samples(open_published(package), shown),
            network,
            spec=published,
            samples=shown,
            on_progress=on_progress,
            targets=targets,
        )
    if as_json:
        facts = {
            "verdict": "reproduced",
            "circuit": result.circuit,
            "srs": result.provenance,
            "adopted": list(result.adopted),
            "meaning_compared": result.meaning_compared,
            "samples": result.fidelity.samples,
            "own_samples": result.own_samples,
            "agreement": result.fidelity.agreement,
            "largest_error": result.fidelity.error,
        }
        click.echo(json.dumps(facts))
        return
    click.echo(f"REPRODUCED  circuit {result.circuit} is this model, quantised")
    click.echo(
        f"  against fp32 on {result.fidelity.samples} samples: same largest output on"
        f" {result.fidelity.agreement:.2%}, largest error {result.fidelity.error:.3g}"
    )
    if result.adopted:
        click.echo(f"  ADOPTED: the model is a plain form of that file, by {', '.join(result.adopted)}")
    if "cut-head" in result.adopted:
        click.echo("  HEAD CUT: its answers are what the file's last Softmax or ArgMax would take")
    if not result.own_samples:
        click.echo("  THE OWNER'S SAMPLES: give some of your own with --samples")
    if result.provenance == "insecure-local":
        click.echo("  INSECURE SRS: whoever made it can forge proofs; for trials only")
    if not result.meaning_compared:
        click.echo(
            "  NOT COMPARED: names, labels, pre- and postprocessing; give the published spec with --spec"
        )


@contextmanager
def _published(
    package: Path, network: Path, *, spec: Path | None, samples: Path | None, **bare: Any
) -> Iterator[tuple[Path | None, Path | None]]:
    """The model's spec, and the auditor's own samples, where there are any."""
    if any(bare.values()):
        if spec is not None or samples is not None:
            raise UsageError("usage", "--data says what --spec and --samples say; leave those out.")
        with _as_folder(network, **bare) as folder:
            yield folder / "spec.json", folder / "samples.npz"
        return
    beside = network.with_name("spec.json")
    # The package's own spec says what its owner says.
    is_published = beside.exists() and beside.resolve().parent != package.resolve()
    yield spec or (beside if is_published else None), samples


def _require_samples(published: Package | Download, samples: Path | None) -> Package | Download:
    if samples is None and not published.path("samples.npz").exists():
        raise UsageError(
            "usage",
            f"{published.folder} has no samples; give yours with --samples, or with --data for a bare ONNX file.",
        )
    return published


@click.command("card")
@click.argument("package", type=Folder)
@click.option(
    "--contract",
    type=Folder,
    help="What 'verinfer contract build' made of it: say what that costs on chain, too.",
)
@click.option("--gas-price", type=click.FloatRange(min=0), help="Gwei per gas, to say it in USD.")
@click.option("--token-price", type=click.FloatRange(min=0), help="USD per token, to say it in USD.")
@click.option("--json", "as_json", is_flag=True)
def card(
    package: Path,
    contract: Path | None,
    gas_price: float | None,
    token_price: float | None,
    *,
    as_json: bool,
) -> None:
    """Print what PACKAGE is, how well it agrees with fp32, and what it costs."""
    rates = read_rates(gas_price, token_price)
    opened = open_package(package)
    if contract is None:
        if rates is not None:
            raise UsageError("usage", "--gas-price and --token-price go with --contract.")
        _print_card(opened, as_json=as_json)
        return
    descriptor = on_chain.read_contract(contract, opened.digest)
    facts = on_chain.with_contract(json.loads(opened.path("card.json").read_bytes()), descriptor, rates)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        # The text as it was made: one of an older version lacks facts that today's would show.
        text = "\n".join([opened.path("card.md").read_text(), *on_chain.as_markdown(facts)])
        say(f"{text}\npackage {opened.folder}")


@click.command("estimate")
@click.argument("model", type=Either)
@click.option(
    "--fit", is_flag=True, help="First measure this machine (two minutes), for all later estimates."
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0.1, max=1e6),
    help="GB that may be used; default: nine tenths of this machine's.",
)
@_batch
@_inputs
@click.option(
    "--system",
    type=click.Choice(get_args(SystemName)),
    default="ezkl",
    show_default=True,
    help="The proof system; sumcheck takes a model folder, and says whether it can take the model.",
)
@click.option("--json", "as_json", is_flag=True)
def estimate(
    model: Path,
    memory: float | None,
    batch: int,
    inputs: Visibility,
    system: SystemName,
    *,
    fit: bool,
    as_json: bool,
) -> None:
    """Say what a circuit of MODEL (a model folder or an ONNX file) would take, or that it cannot fit."""
    if system == "sumcheck":
        if fit or memory is not None:
            raise UsageError("usage", "--fit and --memory are for EZKL's circuits.")
        choose_system(system, Wishes(batch=batch, inputs=inputs))
        # numpy is no part of the command line.
        from .systems.sumcheck_estimate import estimate as estimate_sumcheck

        integers = estimate_sumcheck(model)
        click.echo(json.dumps(integers.to_json()) if as_json else integers.as_text())
        return
    if fit:
        with (
            _progress(quiet=as_json) as on_progress,
            tempfile.TemporaryDirectory(prefix="verinfer-fit-") as home,
        ):
            place = Workplace(directory=Path(home), limits=heavy_limits())
            fit_costs(place, lambda share: on_progress("fit", share))
    if memory is not None and math.isnan(memory):
        raise UsageError("usage", "--memory takes a number of GB.")
    limit = None if memory is None else int(memory * 1e9)
    found = estimates.estimate(model, memory=limit, batch=batch, inputs=inputs)
    click.echo(json.dumps(found.to_json()) if as_json else estimates.as_text(found, load_coefficients()))


@click.command("profile")
@click.argument("model", type=Either)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it, as an SVG file.")
@click.option("--json", "as_json", is_flag=True)
def profile(model: Path, plot: Path | None, *, as_json: bool) -> None:
    """Print the cells of each layer of MODEL: a circuit package, a model folder or an ONNX file."""
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError("usage", "--plot writes SVG; give it a file name that ends in .svg.")
    layers = _layers(model)
    if plot is not None:
        bars = [plots.Bar(f"{item.name} · {item.operator}", item.cells, f"{item.cells:,}") for item in layers]
        files.write_atomically(plot, plots.bars(bars, "cells per layer").encode())
    click.echo(json.dumps([item.to_json() for item in layers]) if as_json else profiles.as_table(layers))


def _layers(model: Path) -> tuple[profiles.Layer, ...]:
    if not (model / "package.json").is_file():
        return estimates.estimate(model).layers
    package = open_package(model)
    with tempfile.TemporaryDirectory(prefix="verinfer-profile-") as home:
        place = Workplace(directory=Path(home), limits=heavy_limits())
        run_args = package.manifest.ezkl.run_args.to_json()
        return profiles.profile(package.path("wrapped.onnx"), run_args, place)


@click.group("srs")
def srs() -> None:
    """Make, fetch and look at structured reference strings."""


@srs.command("make")
@click.argument("logrows", type=click.IntRange(1, srs_files.MOST_LOCAL_LOGROWS))
def make(logrows: int) -> None:
    """Make a local, INSECURE SRS for k = LOGROWS: whoever makes it can forge proofs."""
    made = srs_files.make_insecure(logrows)
    click.echo(f"{made.path}\nINSECURE: whoever made this SRS can forge proofs; for trials only.")


@srs.command("fetch")
@click.argument("file", type=File)
def fetch(file: Path) -> None:
    """Take the ceremony's FILE, which you downloaded from wherever you like, after checking it against the public table."""
    adopted = srs_files.adopt_ceremony(file)
    click.echo(f"{adopted.path}\nceremony: digest and k=1 cut are the public table's.")


@srs.command("show")
@click.argument("file", type=File)
@click.option("--json", "as_json", is_flag=True)
def show(file: Path, *, as_json: bool) -> None:
    """Print the size, digests and provenance of an SRS file."""
    found = srs_files.open_srs(file)
    facts = {
        "logrows": found.logrows,
        "sha256": found.digest,
        "cut_sha256": sha256(found.cut),
        "provenance": found.provenance,
    }
    click.echo(
        json.dumps(facts) if as_json else "\n".join(f"{name:<12} {value}" for name, value in facts.items())
    )


def _print_card(package: Package, *, as_json: bool) -> None:
    path = package.path("card.json" if as_json else "card.md")
    text = path.read_text().rstrip()
    if as_json:
        click.echo(text)
    else:
        # Of a package that somebody else may have made.
        say(f"{text}\n\npackage {package.folder}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar for each phase on a terminal, a line for each elsewhere."""
    if quiet:
        yield lambda _phase, _share: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:<10}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def show_bar(phase: str, share: float) -> None:
                if phase not in tasks:
                    for task in tasks.values():
                        bars.update(task, visible=False)
                    tasks[phase] = bars.add_task(phase, total=1.0 if share else None)
                bars.update(tasks[phase], completed=share, total=1.0 if share else None)

            yield show_bar
    else:
        seen: set[str] = set()

        def show_line(phase: str, _share: float) -> None:
            if phase not in seen:
                seen.add(phase)
                click.echo(f"  {phase}", err=True)

        yield show_line
