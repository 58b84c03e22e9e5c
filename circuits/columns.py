"""How many columns, selectors and lookup arguments EZKL makes for a circuit, and what its proofs hold, from its settings alone.

Takes the settings of ``gen_settings`` (any ``logrows`` may be put into their run args); gives a `Columns`.
The rules were read off EZKL's own count, which it logs during setup, and off the sizes of keys and proofs (ezkl 23.0.5):
advice columns are exact, fixed columns within a few in a hundred, since selectors that exclude each other share one.

Selectors that exclude each other share a column, unless each gets its own (`uncompressed`).
With shared ones proofs are made faster and in less memory. But the vk holds the selectors themselves, and whoever reads it
compares each with each: with 88 of them at k = 15 that takes EZKL's ``verify`` 28 of 58 ms.

A circuit is folded into blocks of 3 vectors of ``num_inner_cols`` columns. Freivalds' argument has blocks of its own, of
4 vectors and 2 columns of challenges; its selectors grow with the square of their number, so one is best by far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verinfer.verifier.settings import ROUNDING

_UNUSABLE = 6
"""Rows at the end of each column that hold no cells."""

_CHALLENGES = 2

_HASH_ADVICE, _HASH_FIXED, _HASH_EQUALITY, _HASH_SELECTORS, _HASH_SHARED = 3, 4, 4, 3, 1
"""Columns of Poseidon (two words of state): its advice, round constants, copies, selectors, and the columns that these share."""

_HASH_ROTATED = 4
"""Its columns that gates also read in the row before or after."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The shape of one circuit: 2^`logrows` rows; `wide` says that a table takes more than one column, which doubles work.

    So does hashing inputs (`hashed`), for the fifth powers of Poseidon.
    """

    logrows: int
    blocks: int
    product_blocks: int
    advice: int
    fixed: int
    equality: int
    selectors: int
    arguments: int
    tables: int
    instances: int
    wide: bool
    hashed: bool
    uncompressed: bool

    @property
    def rows(self) -> int:
        """2^k."""
        return 1 << self.logrows

    @property
    def compared(self) -> int:
        """Rows times pairs of selectors that whoever reads the vk compares."""
        return 0 if self.uncompressed else self.rows * self.selectors**2

    @property
    def extension(self) -> int:
        """By how much the domain of the quotient is larger than that of the circuit."""
        return 8 if self.wide or self.hashed else 4

    @property
    def degree(self) -> int:
        """Of the largest gate, with its selector."""
        return 9 if self.wide else 6 if self.hashed else 5

    @property
    def commitments(self) -> int:
        """Polynomials that a verifier opens, multiplying a point for each: of the proof and of the vk, one for the quotient."""
        return self.advice + self.fixed + self.equality + self._products + 2 * self.arguments + 2

    @property
    def quotient_parts(self) -> int:
        """Points in which a proof has its quotient."""
        return self.degree - 1

    @property
    def proof_words(self) -> int:
        """Words of 32 bytes in a proof: two for each point, one for each value of a polynomial.

        Exact for circuits of one block or many, with or without lookups; within a few in a hundred where a table is wide or
        products have Freivalds' argument.
        """
        points = self.advice + 2 * self.arguments + self._products + self.quotient_parts + 3
        # The running sum of a block is read in two rows, Freivalds' columns in more.
        advice = self.advice + self.blocks + (9 * self.product_blocks + 5) // 2 * (self.product_blocks > 0)
        advice += _HASH_ROTATED * self.hashed
        values = advice + self.fixed + self.equality + 3 * self._products + 3 * self.arguments
        return 2 * points + values

    @property
    def equations(self) -> int:
        """What a verifier evaluates at one point beside the gates: for copies and for lookups."""
        return 2 * self._products + 1 + 3 * self.arguments

    @property
    def _products(self) -> int:
        """Running products of the argument for copies: one for so many columns as the degree allows."""
        return -(-self.equality // (self.degree - 2))

    @property
    def key_elements(self) -> int:
        """Numbers of 32 bytes in the proving key: each column as values, as polynomial and over the large domain."""
        return self.rows * ((2 + self.extension) * (self.fixed + self.equality) + 3 * self.extension)


def count_columns(settings: Mapping[str, Any], *, uncompressed: bool) -> Columns:
    """The columns that EZKL will make for these settings."""
    args = settings["run_args"]
    logrows, inner = args["logrows"], args["num_inner_cols"]
    # As canonical settings have it, of which circuits are made.
    cells = -(-settings["total_assignments"] // ROUNDING) * ROUNDING
    blocks = _blocks(cells, inner, logrows)
    products = _product_blocks(settings)
    ranges = [_chunks(least, most, logrows) for least, most in settings["required_range_checks"]]
    lookups = len(settings["required_lookups"])
    low, high = args["lookup_range"]
    chunks = _chunks(low, high, logrows) if lookups else 0
    tables = sum(ranges) + (1 + lookups) * chunks if lookups else sum(ranges)
    advice = 3 * inner * blocks + (4 * inner + _CHALLENGES) * products
    gates = 4 * inner * blocks + 6 * blocks
    product_gates = 6 * products**2 + (16 + 3 * inner) * products
    looked_up = (len(ranges) + lookups) * inner * blocks
    selectors = gates + product_gates + (len(ranges) - 1 + lookups) * inner * blocks
    hash_rows, hashes = settings["module_sizes"]["poseidon"]
    hashed = hash_rows > 0
    selectors += _HASH_SELECTORS * hashed
    # Gates that exclude each other share a column: three columns for a block's ten gates.
    shared = looked_up + (2 * inner + 1) * blocks + 6 * products**2 + 4 * inner * products
    return Columns(
        logrows=logrows,
        blocks=blocks,
        product_blocks=products,
        advice=advice + _HASH_ADVICE * hashed,
        fixed=1
        + tables
        + (selectors + 2 * inner * products if uncompressed else shared + _HASH_SHARED * hashed)
        + _HASH_FIXED * hashed,
        equality=2 + 3 * inner * blocks + 4 * inner * products + _HASH_EQUALITY * hashed,
        selectors=selectors,
        arguments=inner * blocks * (sum(ranges) + lookups * chunks),
        tables=tables,
        instances=sum(math.prod(shape) for shape in settings["model_instance_shapes"]) + sum(hashes),
        wide=max((*ranges, chunks), default=1) > 1,
        hashed=hashed,
        uncompressed=uncompressed,
    )


def _blocks(cells: int, inner: int, logrows: int) -> int:
    """How many blocks hold so many cells; the last cell of each is not used."""
    return cells // (inner * ((1 << logrows) - _UNUSABLE) - 1) + 1


def _product_blocks(settings: Mapping[str, Any]) -> int:
    """Blocks of Freivalds' argument. EZKL also reserves room there for the products inside range checks, and leaves it empty."""
    params, args = settings["einsum_params"], settings["run_args"]
    if not params["total_einsum_col_size"] or args["disable_freivalds"]:
        return 0
    cells = params["total_einsum_col_size"]
    for equation, sizes in params["equations"]:
        inputs, output = equation.split("->")
        if len(set(inputs.split(","))) == 1:
            axes = [sizes[axis] for axis in output]
            cells += 2 * math.prod(sizes.values()) + math.prod(axes) + 2 * sum(axes)
    return _blocks(cells, args["num_inner_cols"], args["logrows"])


def _chunks(low: int, high: int, logrows: int) -> int:
    """How many columns a table of these bounds takes."""
    return (high - low + 1) // ((1 << logrows) - _UNUSABLE) + 1
