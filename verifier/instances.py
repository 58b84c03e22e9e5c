"""The instance vector of an EZKL proof, built from the statement and the pinned manifest.

Receipts carry no instances, so extra, missing, aliased or non-canonical ones cannot exist.
EZKL's order is one column, each a BN254 scalar, negative values as ``r - |v|``:

========  ==============================================================
inputs    instances
========  ==============================================================
public    the inputs in graph order, the challenge, the outputs
hashed    a hash of each input, the challenge's hash, the challenge, the outputs
private   the challenge, the outputs
========  ==============================================================

Where inputs are hidden, so is the challenge among them; it is the circuit's first output as well.
The challenge's hash is put in by the child that verifies: Poseidon is EZKL's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .manifest import Tensor

BN254_SCALAR_FIELD = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
"""The order r of BN254's groups (EIP-196)."""


def build_instances(
    layout: Sequence[Tensor], values: Mapping[str, Sequence[int]], challenge: Sequence[int]
) -> tuple[int, ...]:
    """Integers in the layout's order, but for the challenge's hash: `values` by tensor name, and the challenge's limbs.

    A hashed tensor's value is its hash, a private one has none.
    The caller has compared names and sizes with the manifest; a difference here is a programming error (ValueError).
    """
    vector: list[int] = []
    for tensor in layout:
        items = challenge if tensor.role == "challenge" else values[tensor.name]
        count = {"public": tensor.size, "hashed": 1, "private": 0}[tensor.visibility]
        if len(items) != count:
            raise ValueError(f"{tensor.name} has {len(items)} values for {count} instances")
        vector.extend(items)
    return tuple(vector)


def to_field_hex(value: int) -> str:
    """`value` as EZKL writes a field element: 32 bytes, little-endian, 64 hex digits."""
    return (value % BN254_SCALAR_FIELD).to_bytes(32, "little").hex()


def from_field_hex(text: str) -> int:
    """The signed integer of a canonical field element; raises ValueError otherwise."""
    value = int.from_bytes(bytes.fromhex(text), "little")
    if len(text) != 64 or value >= BN254_SCALAR_FIELD:
        raise ValueError("not a canonical field element")
    return value - BN254_SCALAR_FIELD if value > BN254_SCALAR_FIELD // 2 else value
