"""The key proof: that every weight and bias behind a root is an integer within its width (specification, section 2).

Made once with a network, for no request; with it, a proof is about the integer network that the description states.
The limbs of all weights, shifted to be non-negative, are committed and checked against the range table, and their
recombination equals the polynomial of weights at a random point, which covers the cells between the blocks too.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import basefold, lookup, opening, soundness
from .basefold import Committed
from .description import Description, parse
from .field import ONE, ZERO, K, add, mul, scale, sub
from .functionals import Cells, Claim, Term, selector
from .layout import (
    MOST_CODE_BITS,
    MOST_WITNESS_BITS,
    Block,
    Layout,
    Limb,
    Sizes,
    layout,
    limb_widths,
    place,
    weight_sizes,
)
from .messages import Messages
from .multilinear import Dims, Point, valid
from .refusal import Step, require
from .soundness import DEFAULT_BITS
from .transcript import Transcript

KEY_PROTOCOL = b"verinfer-sc/1 key"

WEIGHTS, LIMBS = 0, 1
"""The two committed polynomials, P_w and P_k."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A block of weights or biases, and its limbs in P_k."""

    block: Block
    dims: Dims
    """Unpadded."""
    width: int
    """Of a cell in two's complement."""
    limbs: tuple[Limb, ...]


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """Where everything of a key proof lies."""

    multiplicities: Block
    weights: tuple[Weight, ...]
    sizes: Sizes


def key_layout(description: Description, places: Layout) -> KeyLayout:
    """The places of P_k; raises `Rejected` (``proof-invalid``) for networks too large to have a key proof."""
    names = weight_sizes(description)
    widths = {name: description.weight_bits if name[0] == "W" else description.bias_bits for name, _ in names}
    limbs = {name: limb_widths(widths[name], description.limb) for name, _ in names}
    sizes = [("m", description.limb + 1)]
    sizes += [(f"{name}.{number}", size) for name, size in names for number in range(len(limbs[name]))]
    blocks, used = place(sizes)
    parameters = description.commitment
    variables = max(used, parameters.final_bits + 1)
    small = variables <= MOST_WITNESS_BITS and variables + parameters.log_blowup <= MOST_CODE_BITS
    require(small, Step.STATEMENT, "the network is too large for a key proof; have its weights audited")
    found: list[Weight] = []
    for name, _ in names:
        layer = description.layers[int(name[1:])]
        bias = name[0] == "b"
        digits = tuple(
            Limb(blocks[f"{name}.{number}"], number * description.limb, width)
            for number, width in enumerate(limbs[name])
        )
        block = (places.biases if bias else places.weights)[int(name[1:])]
        dims = (layer.channels,) if bias else (layer.channels, *layer.reduction)
        found.append(Weight(block, dims, widths[name], digits))
    return KeyLayout(blocks["m"], tuple(found), Sizes(places.sizes.weights, variables, places.sizes.leaves))


def check_key(canon: bytes, root: bytes, proof: bytes, *, required_bits: float = DEFAULT_BITS) -> None:
    """Return if every valid cell of the weights behind `root` is within the widths of the description, and the others are 0.

    Raises `Malformed` (``description-malformed``), `Rejected` (``security-too-low``, ``proof-invalid``).
    """
    description = parse(canon)
    places = key_layout(description, layout(description))
    sizes, parameters = places.sizes, description.commitment
    soundness.require(parameters, len(description.layers), sizes, required_bits)
    require(type(root) is bytes and len(root) == 32, Step.STATEMENT, "the root must have 32 bytes")
    transcript = Transcript(KEY_PROTOCOL)
    transcript.absorb(b"net", canon)
    transcript.absorb(b"wroot", root)
    messages = Messages(proof, transcript)
    limb_root = messages.absorbed(b"kroot", 32)
    claims = lookup.check(messages, sizes.witness, places.multiplicities, _tags(places), LIMBS)
    claims.append(_recombination(places, transcript.challenges(b"key", sizes.weights)))
    opened = opening.check(messages, claims, (sizes.weights, sizes.witness))
    committed = Committed(root, sizes.weights), Committed(limb_root, sizes.witness)
    basefold.check(messages, opened, committed, sizes.leaves, parameters)


def _tags(places: KeyLayout) -> lookup.Tag:
    """A limb's width on valid cells, 0 elsewhere."""

    def tag(point: Point) -> K:
        found = ZERO
        for weight in places.weights:
            # All limbs of a block have its size.
            cells = valid(weight.dims, point[: weight.block.bits])
            for limb in weight.limbs:
                found = add(found, scale(mul(selector(limb.block, point), cells), limb.width))
        return found

    return tag


def _recombination(places: KeyLayout, point: list[K]) -> Claim:
    """``P_w - sum of limbs · 2^position = - sum of 2^(width-1)`` on valid cells, at a point of P_w."""
    terms = [Term(WEIGHTS, Block(0, places.sizes.weights), ONE, Cells(point))]
    value = ZERO
    for weight in places.weights:
        chosen = selector(weight.block, point)
        low = point[: weight.block.bits]
        terms += [
            Term(LIMBS, limb.block, scale(chosen, -(1 << limb.position)), Cells(low)) for limb in weight.limbs
        ]
        value = sub(value, scale(mul(chosen, valid(weight.dims, low)), 1 << (weight.width - 1)))
    return Claim(tuple(terms), value)
