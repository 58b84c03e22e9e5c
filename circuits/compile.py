"""From a model folder to a circuit package, in one readable order.

inspect, samples, the proof system, then what that does to get a circuit, keys, a real proof as self-test, and a card.
The package appears at once, whole, or not at all: it is built aside and renamed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from verinfer.verifier import files
from verinfer.verifier.errors import UsageError
from verinfer.verifier.manifest import Visibility

from .disk import naming_full_disk
from .model import read_model
from .native import PARSE_LIMITS, Workplace, heavy_limits
from .package import Package, open_package, write_index
from .systems.choice import SYSTEMS, Choice, choose
from .systems.port import DEFAULT_TARGETS, Building, Built, OnProgress, SystemName, Unfit, Wishes
from .targets import BUDGET, Targets, require_suitable


def compile_model(
    folder: Path,
    out: Path,
    *,
    srs: Path | None,
    insecure_srs: bool,
    on_progress: OnProgress,
    targets: Targets = DEFAULT_TARGETS,
    budget: float = BUDGET,
    batch: int = 1,
    inputs: Visibility = "public",
    searches: Path | None = None,
    system: SystemName | None = None,
) -> Package:
    """Build the package `out` from the model folder `folder`: the cheapest circuit that meets the targets.

    `budget`: seconds after which no more trial proofs are made. `batch`: how many samples one proof covers.
    `inputs`: what a proof shows of them.
    `system`: the proof system; None takes our own where it can do what is asked, and says on the card why.
    A search that was stopped goes on from what its journal says, in the folder `searches` or in the cache.
    Raises `UsageError`, `Malformed` or `CouldNotCheck`; then `out` does not exist.
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another --out.")
    wishes = Wishes(
        targets=targets,
        budget=budget,
        batch=batch,
        inputs=inputs,
        srs=srs,
        insecure_srs=insecure_srs,
        searches=searches,
    )
    choice = choose(system, wishes)
    # Children have directories of their own, where a relative path means something else.
    folder, out = folder.absolute(), out.absolute()
    with files.folder_aside(out) as aside, naming_full_disk(out.parent):
        scratch, home = aside / "scratch", aside / "package"
        (home / "verify").mkdir(parents=True)
        scratch.mkdir()
        light = Workplace(directory=scratch, limits=PARSE_LIMITS)
        on_progress("inspect", 0.0)
        model = read_model(folder, light, batch)
        require_suitable(targets, model.spec.task)
        for name in ("network.onnx", "spec.json", "samples.npz"):
            shutil.copyfile(folder / name, home / name)
        order = Building(
            model=model,
            wishes=wishes,
            home=home,
            light=light,
            heavy=replace(light, limits=heavy_limits()),
            because=choice.because,
            on_progress=on_progress,
        )
        built = _build(choice, order)
        write_index(home, built.measured, built.logrows)
        open_package(home)
        home.rename(out)
    return open_package(out)


def _build(choice: Choice, order: Building) -> Built:
    """By the chosen system, or by the next one where it was only tried and cannot take the model."""
    try:
        return SYSTEMS[choice.system].build(order)
    except Unfit as unfit:
        if choice.otherwise is None:
            raise unfit.reason from unfit
        because = f"verinfer-sc/1 cannot take this model: {unfit.reason.message}"
        return SYSTEMS[choice.otherwise].build(replace(order, because=because))
