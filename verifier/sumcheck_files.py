"""The files of a bundle of verinfer-sc/1: that the description is the manifest's, and that the key proof is of its weights."""

from __future__ import annotations

from math import floor, prod

from .errors import Malformed, Rejected
from .manifest import Manifest
from .sumcheck import soundness
from .sumcheck.description import parse
from .sumcheck.key import check_key
from .sumcheck.layout import layout
from .sumcheck_system import SumcheckSystem

KEY_PROOF_LIMIT = 4 << 20


def check_description(description: bytes, manifest: Manifest) -> None:
    """Raise unless the network of these bytes is one that the manifest describes.

    Raises `Malformed` (``description-malformed``), `Rejected` (``security-too-low``).
    """
    system = _system(manifest)
    network = parse(description)
    sizes = layout(network).sizes
    soundness.require(network.commitment, len(network.layers), sizes, soundness.DEFAULT_BITS)
    (given,), (made,) = manifest.tensors("input"), manifest.tensors("output")
    for name, mine, theirs in (
        ("input_bits", network.input_bits, system.input_bits),
        ("input", prod(network.inputs), given.size),
        ("output", prod(network.outputs), made.size),
        ("stages", len(network.layers), len(system.numbers.widths)),
        ("limb_bits", network.limb, system.numbers.limb_bits),
        (
            "security_bits",
            floor(soundness.level(network.commitment, len(network.layers), sizes)),
            system.security_bits,
        ),
    ):
        if mine != theirs:
            raise Malformed(
                "description-malformed",
                f"{name}: the description has {mine}, the manifest {theirs}.",
                field=name,
            )


def check_key_proof(description: bytes, key_proof: bytes, manifest: Manifest) -> None:
    """Raise unless all weights behind the manifest's root are integers within the description's widths.

    Raises `Rejected` (``bundle-mismatch``): for the circuit that is pinned, this is no key proof.
    """
    try:
        check_key(description, bytes.fromhex(_system(manifest).root), key_proof)
    except Rejected as error:
        raise Rejected(
            "bundle-mismatch",
            f"key.proof does not show that the circuit's weights are in their ranges: {error.message}",
            field="key.proof",
        ) from error


def _system(manifest: Manifest) -> SumcheckSystem:
    system = manifest.proof_system
    assert isinstance(system, SumcheckSystem)
    return system
