"""What a circuit's proofs cost on chain, measured in an EVM in a limited child process.

No proof is needed: in the place of each point stands the curve's generator and of each number a small one, so that all is
computed that is computed for an honest proof, and only the pairing fails at the end; the tests compare it with real proofs.
Gas is that of Prague; Osaka (EIP-7883) adds to each modular exponentiation. Calldata counts with the floor of EIP-7623.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from .. import child
from ..jail import GIB, Limits
from ..manifest import Manifest
from ..wire import Natural, Wire
from . import calldata, solc
from .build import Contract
from .calldata import Layout, OnChainProof

OSAKA_MORE = 3 * 2_699
"""More gas in Osaka for a proof: three modular exponentiations of 32-byte words (EIP-7883)."""

_RESCALING = 270
"""Gas for each instance of a valid proof, which the reusable verifier rescales; from real proofs with 21, 48 and 90 instances."""

_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=60, file_bytes=1 << 20, wall_seconds=60)

_BASE, _ZERO_BYTE, _BYTE = 21_000, 4, 16
_FLOOR = 10
"""Gas for a zero byte of calldata at least, and four times as much for another."""


class Price(Wire):
    """Gas on Prague, and bytes of calldata to verify.

    `register_vka` is only there with a reusable verifier, which is deployed once for all circuits.
    `settle` is one or two percent short: what runs after a valid proof, such as the answer's event, is not in it.
    """

    deploy: Natural
    register_vka: Natural | None = None
    verify: Natural
    verify_osaka: Natural
    verify_bytes: Natural
    consumer: Natural
    request: Natural
    settle: Natural
    settle_osaka: Natural


def intrinsic(data: bytes) -> int:
    """What a transaction with this calldata costs before anything runs."""
    zeros = data.count(0)
    return _BASE + _ZERO_BYTE * zeros + _BYTE * (len(data) - zeros)


def floor(data: bytes) -> int:
    """The least that a transaction with this calldata costs (EIP-7623, from Prague on)."""
    zeros = data.count(0)
    return _BASE + _FLOOR * (zeros + 4 * (len(data) - zeros))


def measure(contract: Contract, manifest: Manifest, consumer: solc.Compiled) -> Price:
    """Deploy the verifier and a consumer of it in an EVM, and call them; raises `ChildFailed`, and what `Layout.of` does."""
    return measure_shape(contract, Layout.of(manifest), consumer)


def measure_shape(contract: Contract, layout: Layout, consumer: solc.Compiled) -> Price:
    """The same for any circuit whose instances and proofs are so many; raises `ChildFailed`."""
    shaped = _points(layout.proof_bytes)
    with tempfile.TemporaryDirectory(prefix="verinfer-price-") as name:
        found: dict[str, Any] = child.run(
            "verinfer.verifier.evm._revm",
            "measure",
            {
                "verifier": contract.compiled.creation.hex(),
                "code_hash": contract.code_hash,
                "consumer": consumer.creation.hex(),
                "vka": [word.hex() for word in contract.vka],
                "layout": [layout.inputs, layout.outputs],
                "scale": layout.output_scale,
                "proof": shaped.hex(),
            },
            limits=_LIMITS,
            directory=Path(name),
        )
    # An honest proof costs more to send: hardly any of its bytes is zero.
    noise = _noise(layout.proof_bytes)
    more = intrinsic(noise) - intrinsic(shaped)
    instances = layout.inputs + 16 + layout.outputs
    if contract.vka:
        more += _RESCALING * instances
    given = OnChainProof(noise, (0,) * instances, "5a" * 32)
    data = calldata.verify(given, contract.vka)
    verify = max(int(found["verify"]) + more, floor(data))
    settle = max(int(found["settle"]) + more, floor(calldata.settle(1, given, contract.vka)))
    prices = {
        "deploy": int(found["deploy"]),
        "verify": verify,
        "verify_osaka": verify + OSAKA_MORE,
        "verify_bytes": len(data),
        "consumer": int(found["consumer"]),
        "request": int(found["request"]),
        "settle": settle,
        "settle_osaka": settle + OSAKA_MORE,
    }
    if contract.vka:
        prices["register_vka"] = max(int(found["register"]), floor(calldata.register(contract.vka)))
    return Price.model_validate(prices)


def _points(size: int) -> bytes:
    """A proof of the right shape: BN254's generator (1, 2) everywhere, also where the last two points begin at an odd word."""
    words = [1 + index % 2 for index in range(size // 32 - 4)] + [1, 2, 1, 2]
    return b"".join(word.to_bytes(32, "big") for word in words)


def _noise(size: int) -> bytes:
    """Bytes as an honest proof has them."""
    return b"".join(hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(size // 32))
