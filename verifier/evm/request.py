"""What a request on chain binds: the input by its hash, and all of it by the nonce (design, section 9).

Computed here as the consumer computes it, so that nobody has to take a node's word for the nonce of their own request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

from .. import preprocess
from ..manifest import Manifest
from ..quantise import to_integers
from ..samples import Sample
from .words import keccak256, packed

REQUEST_TAG = keccak256(b"verinfer/request/v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An opened request; addresses are 0x and 40 hex digits, digests are hex."""

    chain_id: int
    consumer: str
    requester: str
    request_id: int
    deadline: int
    model_pin: str
    input_hash: str

    @property
    def nonce(self) -> str:
        """The nonce to ask the service with, as 64 hex digits."""
        types = ["bytes32", "uint256", "address", "address", "uint256", "uint64", "bytes32", "bytes32"]
        values = [
            REQUEST_TAG,
            self.chain_id,
            self.consumer,
            self.requester,
            self.request_id,
            self.deadline,
            bytes.fromhex(self.model_pin),
            bytes.fromhex(self.input_hash),
        ]
        return keccak256(encode(types, values)).hex()


def input_hash(manifest: Manifest, values: Mapping[str, Sequence[int]]) -> str:
    """The hash of the input tensors' integers, in the manifest's order, as hex."""
    return keccak256(b"".join(packed(values[tensor.name]) for tensor in manifest.tensors("input"))).hex()


def quantised(manifest: Manifest, sample: Sample) -> dict[str, tuple[int, ...]]:
    """A raw sample as the circuit's integers, by input; raises `UsageError` as verification does."""
    preprocess.check_names(manifest.inputs, sample)
    return {
        tensor.name: to_integers(
            manifest, tensor, preprocess.to_input(spec, sample[spec.name], manifest.samples)
        )
        for tensor, spec in zip(manifest.tensors("input"), manifest.inputs, strict=True)
    }
