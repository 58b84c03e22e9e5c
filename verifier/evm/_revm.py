"""The verifier's only importer of an EVM; runs inside a limited child and takes bytes as hex.

What it charges is the sum of the cost of a transaction's calldata and what ran, without the floor of EIP-7623.
"""

from __future__ import annotations

from pyrevm import EVM, BlockEnv, CfgEnv, Env

from ..digest import challenge
from . import calldata
from .calldata import Layout, OnChainProof
from .words import keccak256, packed

_CALLER = "0x1000000000000000000000000000000000000001"
_GAS = 2**31
_NOW = 1_800_000_000
_STATEMENT = "5a" * 32


def measure(
    *, verifier: str, consumer: str, code_hash: str, vka: list[str], layout: list[int], scale: int, proof: str
) -> dict[str, int]:
    """Gas of a verifier and of a consumer of it, from deployment to a proof of the shape of `proof`, which need not be valid.

    `verifier`, `consumer`: the code that deploys them; `vka`: words, empty for a single verifier; `layout`: how many instances
    are inputs and outputs.
    """
    # What is too large for a chain has a price, too.
    evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 20)))
    evm.set_block_env(BlockEnv(timestamp=_NOW))
    evm.set_balance(_CALLER, 10**20)
    words, found = [bytes.fromhex(word) for word in vka], {}
    verifies = evm.deploy(_CALLER, bytes.fromhex(verifier), gas=_GAS)
    found["deploy"] = _used(evm)
    if words:
        found["register"] = _call(evm, verifies, calldata.register(words))
    shape = Layout(inputs=layout[0], outputs=layout[1], proof_bytes=len(proof) // 2, output_scale=scale)
    # Of outputs none is zero, since zeros cost less to keep.
    inputs, outputs = [0] * shape.inputs, [1] * shape.outputs
    given = OnChainProof(
        bytes.fromhex(proof), (*inputs, *challenge("00" * 32, _STATEMENT), *outputs), _STATEMENT
    )
    found["verify"] = _call(evm, verifies, calldata.verify(given, words))
    model = calldata.constructor(
        verifies, bytes.fromhex(code_hash), keccak256(b"".join(words)) if words else None, shape, None
    )
    settles = evm.deploy(_CALLER, bytes.fromhex(consumer) + model, gas=_GAS)
    found["consumer"] = _used(evm)
    found["request"] = _call(evm, settles, calldata.request(keccak256(packed(inputs)), _NOW + 3600))
    nonce = evm.message_call(_CALLER, settles, calldata=calldata.nonce_of(1), gas=_GAS).hex()
    given = OnChainProof(given.proof, (*inputs, *challenge(nonce, _STATEMENT), *outputs), _STATEMENT)
    found["settle"] = _call(evm, settles, calldata.settle(1, given, words))
    return found


def _call(evm: EVM, to: str, data: bytes) -> int:
    """Gas of one transaction, also when it reverts: then everything ran but the pairing's consequences."""
    try:
        evm.message_call(_CALLER, to, calldata=data, gas=_GAS)
    except RuntimeError as error:
        if not str(error).startswith("Revert"):
            raise
    return _used(evm)


def _used(evm: EVM) -> int:
    assert evm.result is not None
    return evm.result.gas_used
