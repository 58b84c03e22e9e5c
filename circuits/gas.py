"""What a circuit's proofs cost on chain, foreseen from its columns: gas to verify one, and the bytes of the contract.

Takes a `Columns`, gives an `OnChain`: of the form that ``verinfer contract build`` would take, which is a verifier of the
circuit's own where that fits a chain's limit, else the reusable one. Gas is Prague's, of a transaction that verifies one proof.

What is counted is what EZKL's verifier does: a multiplication and an addition of points for each commitment, one pairing, the
proof's calldata, each gate and each other equation at one point, each instance. The prices of precompiles and of calldata are the
chain's; the rest was fitted over the circuits of ``scripts/gas``, which builds, compiles and runs the real contracts.
An instance is priced as a small number that is not negative: a negative one costs some 350 gas more, since its field element has
no zero bytes. A contract that was built is measured: `verinfer contract build` says what it costs without an estimate.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from verinfer.verifier.evm.harden import Form

from .columns import Columns

CODE_LIMIT = 24_576
"""The most bytes that a contract's code may have on chain (EIP-170)."""

ERROR = 0.05
"""The largest relative error of gas and of bytes: 0.006 and 0.02 over the circuits of ``scripts/gas``, whose inputs are zero, and
the rest for negative inputs."""

_BASE = 21_000
_POINT = 6_000 + 150
"""A multiplication and an addition on BN254 (EIP-1108)."""
_PAIRING = 45_000 + 2 * 34_000
_CALLDATA_WORD = 510
"""A word of a proof: hardly any of its bytes is zero."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of gas, what one form of verifier takes beside precompiles and calldata; or its bytes beside the vk's points.

    `gate`: of one whose selector shares a column; `own`: of one that has a column. `hashed` and `products` are what Poseidon and
    each block of Freivalds' argument take more than their gates.
    """

    once: float
    gate: float
    own: float
    equation: float
    instance: float
    hashed: float
    products: float

    def total(self, columns: Columns) -> int:
        """The sum over a circuit."""
        prices: tuple[float, ...] = astuple(self)
        return round(sum(price * count for price, count in zip(prices, counts(columns), strict=True)))


PRICES: dict[Form, Prices] = {
    "single": Prices(
        27_510, gate=945, own=1_123, equation=1_641, instance=881, hashed=23_065, products=27_299
    ),
    "reusable": Prices(
        73_596, gate=4_767, own=4_166, equation=3_840, instance=1_080, hashed=71_616, products=85_690
    ),
}

BYTES = Prices(5_314, gate=208, own=109, equation=173, instance=0, hashed=3_066, products=3_230)
"""Of a single verifier's code."""

_POINT_BYTES = 74
"""Two words that are pushed and stored, for each commitment of the vk."""


def counts(columns: Columns) -> tuple[int, ...]:
    """How many of each of what `Prices` names."""
    gates, own = columns.selectors, columns.uncompressed
    return (
        1,
        0 if own else gates,
        gates if own else 0,
        columns.equations,
        columns.instances,
        int(columns.hashed),
        columns.product_blocks,
    )


@dataclass(frozen=True, slots=True)
class OnChain:
    """The form of verifier that fits, gas to verify a proof with it, and the bytes of a verifier of the circuit's own."""

    form: Form
    verify_gas: int
    contract_bytes: int


def on_chain(columns: Columns) -> OnChain:
    """The form, gas and bytes that are foreseen for a circuit of these columns."""
    size = contract_bytes(columns)
    form = form_of(size)
    return OnChain(form, verify_gas(columns, form), size)


def form_of(contract_bytes: int) -> Form:
    """The form for a circuit whose own verifier has so many bytes."""
    return "single" if contract_bytes <= CODE_LIMIT else "reusable"


def verify_gas(columns: Columns, form: Form) -> int:
    """Gas of a transaction that verifies a proof with a verifier of this form."""
    return known_gas(columns) + PRICES[form].total(columns)


def known_gas(columns: Columns) -> int:
    """The part that the chain's own prices say: transaction, precompiles, calldata of the proof."""
    return _BASE + _PAIRING + _POINT * multiplications(columns) + _CALLDATA_WORD * columns.proof_words


def contract_bytes(columns: Columns) -> int:
    """Bytes of a single verifier's code on chain."""
    return known_bytes(columns) + BYTES.total(columns)


def known_bytes(columns: Columns) -> int:
    """The part that holds the vk."""
    return _POINT_BYTES * (columns.fixed + columns.equality)


def multiplications(columns: Columns) -> int:
    """Of points by a number: of each polynomial that is opened, of the quotient's parts, and of the opening's own two points."""
    return columns.commitments + columns.quotient_parts + 1


def as_text(verify_gas: int, contract_bytes: int) -> str:
    """What is foreseen, for people."""
    how = (
        f"a contract of its own, {contract_bytes:,} of at most {CODE_LIMIT:,} B"
        if form_of(contract_bytes) == "single"
        else f"the reusable verifier, since its own would have {contract_bytes:,} of at most {CODE_LIMIT:,} B"
    )
    return f"about {verify_gas:,} gas to verify; {how}"
