"""From an input to a proof, in two steps: the forward pass before the statement is written, the proof after it.

`Prover` is the port of proof systems on this side; the service knows no other name, and `provers` has one for each.
Here is EZKL's. Progress comes from its log lines; inside the proving call, which says nothing, it is an estimate from the time
that the package's own proof took.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from verinfer.verifier import files
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.digest import CHALLENGE_LIMBS, to_limbs
from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.evidence import EZKL_KIND, Evidence, Proof
from verinfer.verifier.instances import from_field_hex, to_field_hex

from . import ranges
from .native import Workplace
from .package import Package

Tensors = Mapping[str, Sequence[int]]
"""Signed integers by tensor name, flat; of a hashed tensor its salt's limbs stand behind them."""

OnProgress = Callable[[str, float], None]
"""Phase, and the fraction of the whole proof that is done, 0 to 1."""

_LINES = {"loaded proving key": "loading", "proof started": "proving", "model layout": "proving"}


@dataclass(frozen=True, slots=True)
class Witness:
    """What a forward pass gave: the circuit's outputs, and for EZKL a file in the workplace that a proof of them starts from.

    `hashes`: of each input, where the circuit hashes them, as statements have it.
    """

    inputs: Tensors = field(repr=False)
    outputs: Mapping[str, tuple[int, ...]]
    hashes: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None


class Prover(Protocol):
    """Makes evidence of one kind for circuits of one proof system."""

    kind: str

    def forward(self, package: Package, inputs: Tensors, place: Workplace) -> Witness:
        """The forward pass of `inputs`; raises `UsageError` (``value-out-of-range``) or `ChildFailed`."""
        ...

    def prove(
        self,
        package: Package,
        witness: Witness,
        challenge: bytes,
        place: Workplace,
        on_progress: OnProgress,
    ) -> Evidence:
        """Evidence for the witness's inputs and outputs and this challenge of 32 bytes; the witness is used up.

        Raises `CouldNotCheck` or `ChildFailed`.
        """
        ...


class EzklProver:
    """Proves circuits of the kind ``ezkl-halo2-kzg``."""

    kind = EZKL_KIND

    def forward(self, package: Package, inputs: Tensors, place: Workplace) -> Witness:
        """A forward pass with a zero challenge; `prove` puts the real one into its place."""
        return self._forward(package, inputs, [0] * CHALLENGE_LIMBS, place)

    def _forward(
        self, package: Package, inputs: Tensors, challenge: Sequence[int], place: Workplace
    ) -> Witness:
        manifest = package.manifest
        data, witness = place.directory / "input.json", place.directory / "witness.json"
        values = [_to_hex(inputs[tensor.name]) for tensor in manifest.tensors("input")]
        values.append(_to_hex(challenge))
        files.write_scratch(data, json.dumps({"input_data": values}).encode())
        try:
            made = place.ezkl(
                "gen_witness",
                data=data,
                compiled=package.path("model.compiled"),
                witness=witness,
                tables=manifest.ezkl.run_args.lookup_range,
            )
        except BaseException as error:
            witness.unlink(missing_ok=True)
            if not isinstance(error, ChildFailed) or error.code != "value-out-of-range":
                raise
            layer = ranges.widest_layer(package, inputs, place)
            raise UsageError(
                "value-out-of-range",
                f"At the layer {layer} a value leaves the circuit's range: the input is too unusual.",
            ) from error
        finally:
            data.unlink()
        # Where inputs are hidden the challenge is an output before the model's.
        results = made["outputs"] if manifest.visibility == "public" else made["outputs"][1:]
        outputs = {
            tensor.name: tuple(from_field_hex(text) for text in texts)
            for tensor, texts in zip(manifest.tensors("output"), results, strict=True)
        }
        # The challenge has a hash as well, the last one.
        texts = made["hashes"][:-1]
        hashes = {
            tensor.name: bytes.fromhex(text)[::-1].hex()
            for tensor, text in zip(manifest.tensors("input") if texts else (), texts, strict=True)
        }
        return Witness(inputs, outputs, hashes, witness)

    def prove(
        self,
        package: Package,
        witness: Witness,
        challenge: bytes,
        place: Workplace,
        on_progress: OnProgress,
    ) -> Evidence:
        """A proof of the witness with the limbs of `challenge` in the place of its zeros."""
        assert witness.path is not None
        path, limbs = place.directory / "proof.json", to_limbs(challenge)
        try:
            if package.manifest.visibility != "public":
                # A hidden challenge has its hash and its copy in the witness; EZKL makes both anew, in a new file.
                witness.path.unlink()
                again = self._forward(package, witness.inputs, limbs, place)
                if (again.outputs, again.hashes) != (witness.outputs, witness.hashes):
                    raise CouldNotCheck(
                        "circuit-inconsistent", "The challenge changed the circuit's outputs."
                    )
            with estimated(package.measured.prove_ms / 1000, on_progress) as on_line:
                place.ezkl(
                    "prove",
                    on_line=on_line,
                    witness=witness.path,
                    compiled=package.path("model.compiled"),
                    pk=package.path("pk.key"),
                    proof=path,
                    srs=package.path("kzg.srs"),
                    challenge=_to_hex(limbs) if package.manifest.visibility == "public" else None,
                )
        finally:
            witness.path.unlink(missing_ok=True)
        proof = read_proof(path)
        if len(proof) != package.manifest.ezkl.proof_bytes:
            raise CouldNotCheck("artifact-torn", "EZKL wrote a proof of another length than this circuit's.")
        return Proof.of(proof)


def read_proof(path: Path) -> bytes:
    """The proof's bytes from EZKL's proof file; raises `CouldNotCheck` (``artifact-torn``) if it was not written whole."""
    try:
        numbers = json.loads(path.read_bytes())["proof"]
        # Not bytes(3), which is three zeros.
        return b"".join(number.to_bytes() for number in numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CouldNotCheck("artifact-torn", "EZKL did not write a whole proof; is the disk full?") from error


def _to_hex(values: Sequence[int]) -> list[str]:
    return [to_field_hex(value) for value in values]


@contextmanager
def estimated(
    seconds: float, on_progress: OnProgress, phase: str = "loading"
) -> Iterator[Callable[[str], None]]:
    """Report `phase`, or phases as EZKL's lines name them, and the share of the expected time, up to 95 %."""
    ended, started = threading.Event(), time.monotonic()

    def on_line(line: str) -> None:
        nonlocal phase
        phase = next((name for text, name in _LINES.items() if text in line), phase)

    def tick() -> None:
        while not ended.wait(0.2):
            on_progress(phase, min((time.monotonic() - started) / max(seconds, 0.1), 0.95))

    ticker = threading.Thread(target=tick, name="proof-progress", daemon=True)
    ticker.start()
    try:
        yield on_line
    finally:
        ended.set()
        ticker.join()
