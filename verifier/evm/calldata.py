"""Calldata in the one form that the contracts read, built from a receipt and the pinned manifest; never somebody else's.

Source: Solidity's contract ABI specification, as eth-abi encodes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

from ..digest import challenge
from ..errors import Rejected, UsageError
from ..evidence import EZKL_KIND, Proof
from ..instances import build_instances
from ..manifest import EzklSystem, Manifest
from ..receipt import Receipt
from ..statement import Statement, TensorValue
from .words import elements, selector

VERIFY_SINGLE = "verifyProof(bytes,uint256[])"
VERIFY_REUSABLE = "verifyProof(bytes,uint256[],bytes32[])"
REGISTER = "registerVka(bytes32[])"
SETTLE = "settle(uint256,bytes,uint256[],bytes32[],bytes32)"
REQUEST = "request(bytes32,uint64)"
EXPIRE = "expire(uint256)"
NONCE_OF = "nonceOf(uint256)"
ANSWER_OF = "answerOf(uint256)"
MODEL_PIN = "modelPin()"
_MODEL = "(address,bytes32,bytes32,uint32,uint32,uint32,uint8)"
_NOBODY = "0x" + "00" * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a circuit's instances lie, as the consumer is told: inputs, the challenge, outputs, each a count."""

    inputs: int
    outputs: int
    proof_bytes: int
    output_scale: int

    @classmethod
    def of(cls, manifest: Manifest) -> Layout:
        """The circuit's.

        Raises `UsageError` (``not-on-chain``, ``inputs-hidden``, ``outputs-unlike``) where a consumer cannot take it.
        """
        if not isinstance(manifest.proof_system, EzklSystem):
            name = manifest.proof_system.name
            raise UsageError(
                "not-on-chain",
                f"Contracts check EZKL's proofs, and this circuit's are of {name}; compile it with --target evm.",
            )
        if manifest.visibility != "public":
            raise UsageError(
                "inputs-hidden",
                "The circuit hides its input, and the consumer takes circuits with public inputs.",
            )
        outputs = manifest.tensors("output")
        if len({tensor.scale for tensor in outputs}) > 1:
            raise UsageError(
                "outputs-unlike", "The model's outputs have different scales, and the consumer knows one."
            )
        return cls(
            inputs=sum(tensor.size for tensor in manifest.tensors("input")),
            outputs=sum(tensor.size for tensor in outputs),
            proof_bytes=manifest.proof_system.proof_bytes,
            output_scale=outputs[0].scale,
        )


@dataclass(frozen=True, slots=True)
class OnChainProof:
    """What a receipt becomes on chain: the proof, its instances as field elements, and the digest of the statement."""

    proof: bytes
    instances: tuple[int, ...]
    statement: str


def proof_of(receipt: Receipt, manifest: Manifest) -> OnChainProof:
    """The proof in `receipt` and the instances that statement and manifest say; nothing is verified here.

    Raises `Rejected` (``circuit-not-pinned``, ``tensors-mismatch``, ``evidence-missing``, ``proof-invalid``).
    """
    statement = receipt.statement
    if statement.predicate.circuit != manifest.digest:
        raise Rejected("circuit-not-pinned", "The receipt is of another circuit than the contract.")
    evidence = receipt.evidence.get(EZKL_KIND)
    if not isinstance(evidence, Proof):
        raise Rejected("evidence-missing", "The receipt has no proof yet, and a contract takes nothing else.")
    expected = manifest.ezkl.proof_bytes
    if len(evidence.data) != expected:
        raise Rejected(
            "proof-invalid", f"The proof has {len(evidence.data)} bytes; this circuit's have {expected}."
        )
    return OnChainProof(evidence.data, _instances(statement, manifest), statement.digest)


def _instances(statement: Statement, manifest: Manifest) -> tuple[int, ...]:
    predicate = statement.predicate
    found = {
        (role, tensor.name): tensor for role in ("input", "output") for tensor in getattr(predicate, role)
    }
    values: dict[str, Sequence[int]] = {}
    for tensor in manifest.layout:
        if tensor.role == "challenge":
            continue
        given = found.get((tensor.role, tensor.name))
        if not isinstance(given, TensorValue) or given.shape != tensor.shape or isinstance(given.value, str):
            raise Rejected("tensors-mismatch", f"{tensor.name} is not as in the manifest.", field=tensor.name)
        values[tensor.name] = given.value
    return elements(build_instances(manifest.layout, values, challenge(predicate.nonce, statement.digest)))


def verify(given: OnChainProof, vka: Sequence[bytes]) -> bytes:
    """The call of a verifier: of the reusable one with the circuit's words, of a single one without any."""
    if not vka:
        return selector(VERIFY_SINGLE) + encode(["bytes", "uint256[]"], [given.proof, given.instances])
    values = [given.proof, given.instances, vka]
    return selector(VERIFY_REUSABLE) + encode(["bytes", "uint256[]", "bytes32[]"], values)


def constructor(
    verifier: str, code_hash: bytes, vka_digest: bytes | None, layout: Layout, registry: str | None
) -> bytes:
    """What follows a consumer's code to deploy it; addresses are 0x and 40 hex digits."""
    model = (
        verifier,
        code_hash,
        vka_digest or bytes(32),
        layout.inputs,
        layout.outputs,
        layout.proof_bytes,
        layout.output_scale,
    )
    return encode([_MODEL, "address"], [model, registry or _NOBODY])


def register(vka: Sequence[bytes]) -> bytes:
    """The call that makes a VKA known to the reusable verifier."""
    return selector(REGISTER) + encode(["bytes32[]"], [vka])


def request(input_hash: bytes, deadline: int) -> bytes:
    """The call that opens a request, which can be settled until `deadline`, in seconds since 1970."""
    return selector(REQUEST) + encode(["bytes32", "uint64"], [input_hash, deadline])


def nonce_of(request_id: int) -> bytes:
    """The call that asks a consumer for a request's nonce."""
    return selector(NONCE_OF) + encode(["uint256"], [request_id])


def answer_of(request_id: int) -> bytes:
    """The call that asks a consumer for a settled request's answer."""
    return selector(ANSWER_OF) + encode(["uint256"], [request_id])


def answered(answer: Sequence[int]) -> bytes:
    """What a consumer gives when it is asked for this answer: a list of signed integers, each in a word."""
    return b"".join((value % (1 << 256)).to_bytes(32, "big") for value in (32, len(answer), *answer))


def expire(request_id: int) -> bytes:
    """The call that closes a request that was not settled in time."""
    return selector(EXPIRE) + encode(["uint256"], [request_id])


def settle(request_id: int, given: OnChainProof, vka: Sequence[bytes]) -> bytes:
    """The call that settles a request."""
    values = [request_id, given.proof, given.instances, vka, bytes.fromhex(given.statement)]
    return selector(SETTLE) + encode(["uint256", "bytes", "uint256[]", "bytes32[]", "bytes32"], values)
