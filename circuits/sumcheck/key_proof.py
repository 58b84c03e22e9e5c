"""The key proof: that every weight behind R_w is an integer within the widths of D (section 2). Made once, at compile.

It is the machine of section 6 with a polynomial P_k of the weights' limbs in the place of P_x:
each limb of `weight + 2^(width-1)` is looked up, and P_w is what the limbs recombine to, padding and filler included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verinfer.verifier.errors import CouldNotCheck

from .arena import Arena
from .basefold import prove_values
from .commitment import commit
from .description import PROTOCOL, Description, Dims, canon
from .field import ONE, K, Words, k_scale
from .functionals import WEIGHTS, WITNESS, Claim, Equal, Term
from .layout import MULTIPLICITIES, Block, Layout, limbs, place
from .lookup import prove_lookup
from .opening import prove_openings
from .prover import ProvingKey
from .transcript import Transcript
from .validation import MOST_ORDER_BITS, MOST_WITNESS_BITS
from .witness import Tags, count_slots, valid_cells


@dataclass(frozen=True, slots=True)
class Limb:
    """A limb's block in P_k, which block of P_w it belongs to, that one's unpadded dimensions, and its place there in bits."""

    source: str
    block: Block
    dims: Dims
    width: int
    shift: int


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """Where P_k has its limbs and multiplicities; `bits` are its variables."""

    limbs: tuple[Limb, ...]
    multiplicities: Block
    bits: int


def key_layout(layout: Layout) -> KeyLayout:
    """The layout of P_k; raises `CouldNotCheck` (``no-circuit``) where there is no key proof, because it would be too long."""
    found = list(_limbs(layout))
    placed, count = place(
        [
            (MULTIPLICITIES, layout.limb_bits + 1),
            *((name, layout.weights[source].bits) for name, source, _, _, _ in found),
        ]
    )
    variables = max(count, layout.final_bits + 1)
    if variables > MOST_WITNESS_BITS or variables + layout.blowup_bits > MOST_ORDER_BITS:
        raise CouldNotCheck(
            "no-circuit",
            "The network has too many weights for a proof that all are in range; whoever doubts it must see them.",
        )
    return KeyLayout(
        tuple(Limb(source, placed[name], dims, width, shift) for name, source, dims, width, shift in found),
        placed[MULTIPLICITIES],
        variables,
    )


def _limbs(layout: Layout) -> Iterator[tuple[str, str, Dims, int, int]]:
    description: Description = layout.description
    for stage in layout.stages:
        if stage.weighted:
            for kind, width, dims in (
                ("W", description["wb"], (stage.outputs, *stage.reduction)),
                ("b", description["bb"], (stage.outputs,)),
            ):
                source = f"{kind}{stage.index}"
                for number, part in enumerate(limbs(width, layout.limb_bits)):
                    yield f"{source}.{number}", source, dims, part, number * layout.limb_bits


def prove_key(key: ProvingKey) -> bytes:
    """The bytes of the key proof; the same for the same D and weights.

    Raises `CouldNotCheck` (``no-circuit``) of a network that is too large for one.
    """
    places = key_layout(key.layout)
    return prove_cells(key, places, *limb_cells(key, places))


def prove_cells(key: ProvingKey, places: KeyLayout, cells: Words, tags: Tags) -> bytes:
    """A key proof of given cells of P_k; of wrong ones, bytes that no verifier accepts."""
    layout = key.layout
    committed = commit(cells, layout.leaves_bits, layout.blowup_bits)
    transcript = Transcript(f"{PROTOCOL} key".encode())
    transcript.absorb(b"net", canon(layout.description))
    transcript.absorb(b"wroot", key.root)
    transcript.send(b"kroot", committed.root)
    arena = Arena()
    claims = prove_lookup(transcript, cells, tags, places.multiplicities, arena)
    claims.append(_recombination(layout, places, transcript.challenges(b"key", layout.weights_bits)))
    polynomials = (key.committed, committed)
    vectors = [polynomial.cells for polynomial in polynomials]
    point, values = prove_openings(transcript, claims, vectors, arena)
    prove_values(transcript, layout, polynomials, point, values, arena)
    return transcript.proof()


def limb_cells(key: ProvingKey, places: KeyLayout) -> tuple[Words, Tags]:
    """P_k, and the width of each of its cells: that of its limb where a weight is, 0 elsewhere."""
    cells, tags = np.zeros(1 << places.bits, np.uint64), np.zeros(1 << places.bits, np.uint8)
    description = key.layout.description
    for limb in places.limbs:
        width = description["wb"] if limb.source.startswith("W") else description["bb"]
        lifted = key.weights[limb.source].reshape(limb.dims) + (1 << (width - 1))
        part = (lifted >> limb.shift) & ((1 << limb.width) - 1)
        valid_cells(cells[limb.block.cells], limb.dims)[:] = part
        valid_cells(tags[limb.block.cells], limb.dims)[:] = limb.width
    count_slots(cells, tags, places.multiplicities)
    return cells, tags


def _recombination(layout: Layout, places: KeyLayout, zeta: list[K]) -> Claim:
    """C2: P_w is what its limbs recombine to, at a random point of all of it."""
    terms = [Term(WEIGHTS, Block(0, layout.weights_bits), Equal(zeta), ONE)]
    for limb in places.limbs:
        block = layout.weights[limb.source]
        coefficient = k_scale(block.selector(zeta), -(1 << limb.shift))
        terms.append(Term(WITNESS, limb.block, Equal(zeta[: block.bits]), coefficient))
    return terms
