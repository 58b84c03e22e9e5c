"""Kernels against hashlib and slow Python. One module, so that one worker of the suite compiles them."""

import random
from hashlib import sha256

import numpy as np
import pytest

from verinfer.circuits.sumcheck import field, merkle, reed_solomon, tables, threads
from verinfer.circuits.sumcheck.arena import Arena
from verinfer.circuits.sumcheck.field import K, P, Words
from verinfer.circuits.sumcheck.sha256 import as_bytes, hash_many
from verinfer.circuits.sumcheck.transcript import Transcript

EDGES = [0, 1, 2, 6, 7, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**63, P - 2**32, P - 2**32 - 1, P - 2, P - 1]


def _numbers(count: int, seed: int) -> list[int]:
    generator = random.Random(seed)  # noqa: S311  # test data
    return [
        generator.choice(EDGES) if generator.random() < 0.3 else generator.randrange(P) for _ in range(count)
    ]


def _elements(count: int, seed: int) -> list[K]:
    numbers = _numbers(2 * count, seed)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _vector(numbers: list[int]) -> Words:
    return np.array(numbers, dtype=np.uint64)


def _eq(point: list[K]) -> list[K]:
    table = [field.ONE]
    for z in point:
        table = [field.k_mul(e, field.k_sub(field.ONE, z)) for e in table] + [
            field.k_mul(e, z) for e in table
        ]
    return table


def test_products_at_the_edges_of_the_field() -> None:
    """Products and sums in F are exact wherever a carry or a reduction can happen."""
    pairs = [(a, b) for a in EDGES for b in EDGES]
    a, b = _vector([a for a, _ in pairs]), np.zeros((len(pairs), 2), np.uint64)
    b[:, 0], b[:, 1] = [b for _, b in pairs], [b for _, b in pairs]
    for i, (x, y) in enumerate(pairs):
        assert tables.dot(a[i : i + 1], b[i : i + 1]) == (x * y % P, x * y % P)
    total = sum(x * y for x, y in pairs) % P
    assert tables.dot(a, b) == (total, total)


def test_extension_is_a_field() -> None:
    """K multiplies as polynomials mod X^2 - 7, and every element but zero has an inverse."""
    for a in _elements(50, 1):
        if a != field.ZERO:
            assert field.k_mul(a, field.k_inverse(a)) == field.ONE
    assert field.k_mul((0, 1), (0, 1)) == (7, 0)
    assert pow(7, (P - 1) // 2, P) == P - 1  # 7 is no square, so X^2 - 7 has no root
    assert pow(field.root(32), 1 << 31, P) == P - 1
    with pytest.raises(ValueError, match="not invertible"):
        field.k_inverse(field.ZERO)


def test_signed_integers() -> None:
    """A negative integer is p minus its size, and every result is below p."""
    values = np.array([0, 1, -1, 2**62, -(2**62), -(2**31)], dtype=np.int64)
    assert field.from_signed(values).tolist() == [int(v) % P for v in values]


@pytest.mark.parametrize("variables", [0, 1, 3, 15])
def test_eq_tables(variables: int) -> None:
    """Variable i is bit i of the index, for small tables and for those made of two halves."""
    point, factor = _elements(variables, 3), (5, 9)
    table = tables.eq_table(point, factor)
    expected = _eq(point)
    for index in {0, 1, len(expected) // 2, len(expected) - 1} & set(range(len(expected))):
        assert field.element(table[index]) == field.k_mul(expected[index], factor)
        assert field.eq_bits(index, point) == expected[index]
    added = np.ones_like(table)
    tables.add_eq(point, factor, added)
    assert [field.k_sub(field.element(a), (1, 1)) for a in added[:4]] == [field.element(t) for t in table[:4]]


@pytest.mark.parametrize("variables", [1, 5, 13])
def test_folding_evaluates(variables: int) -> None:
    """Binding the variables one by one gives the multilinear extension's value, which the direct evaluation gives too."""
    numbers, point = _numbers(1 << variables, 4), _elements(variables, 5)
    vector = _vector(numbers)
    folded = np.stack([vector, np.zeros_like(vector)], axis=1)
    for r in point:
        folded = tables.folded(folded, r)
    expected = field.k_sum(field.k_scale(e, n) for e, n in zip(_eq(point), numbers, strict=True))
    assert field.element(folded[0]) == expected == tables.evaluate(vector, point)


def test_suffix_tables() -> None:
    """The i-th table is eq over the variables after the i-th."""
    point = _elements(6, 6)
    for i, table in enumerate(tables.suffix_tables(point, Arena())):
        assert [field.element(row) for row in table] == _eq(point[i + 1 :])


def test_rounds() -> None:
    """A round's quadratic goes through both its values and has its leading coefficient."""
    t0, t1, leading, r = _elements(4, 7)
    assert field.quadratic(t0, t1, leading, field.ZERO) == t0
    assert field.quadratic(t0, t1, leading, field.ONE) == t1
    at_two = field.quadratic(t0, t1, leading, (2, 0))
    assert field.k_add(field.k_sub(at_two, field.k_scale(t1, 2)), t0) == field.k_scale(leading, 2)
    assert field.between(t0, t1, r) == field.quadratic(t0, t1, field.ZERO, r)


@pytest.mark.parametrize(("bits", "blowup"), [(0, 1), (1, 2), (4, 4), (5, 2), (11, 1), (14, 2), (15, 1)])
def test_codewords(bits: int, blowup: int) -> None:
    """Position i holds the message as a polynomial at `root^(rev i)`: odd and even sizes, one block and several."""
    message = _numbers(1 << bits, 8)
    codeword = reed_solomon.encode(_vector(message), blowup)
    length = bits + blowup
    assert len(codeword) == 1 << length
    for position in sorted(
        {0, 1, 2, 3, len(codeword) // 2 + 1, len(codeword) - 1} & set(range(len(codeword)))
    ):
        x = pow(field.root(length), int(f"{position:0{length}b}"[::-1], 2), P)
        value = 0
        for coefficient in reversed(message):
            value = (value * x + coefficient) % P
        assert int(codeword[position]) == value


@pytest.mark.parametrize("count", [1, 15, 16, 17, 2050])
@pytest.mark.parametrize("length", [1, 8, 13, 14, 16, 40])
def test_hashes(count: int, length: int) -> None:
    """Every message's hash is hashlib's, whether its lanes are full, its block is, or threads share the work."""
    data = np.random.default_rng(9).integers(0, 1 << 32, (count, length), dtype=np.uint32)
    plain, little = hash_many(data), hash_many(data, prefix=b"leaf", little_endian=True)
    for i in {0, 1, count // 2, count // 2 + 1, count - 1} & set(range(count)):
        assert as_bytes(plain[i]) == sha256(data[i].astype(">u4").tobytes()).digest()
        assert as_bytes(little[i]) == sha256(b"leaf" + data[i].astype("<u4").tobytes()).digest()


def _root_of(opening: bytes, indices: list[int], symbols: int, depth: int) -> bytes:
    """The root that an opening leads to, by the specification's text."""
    size = 8 * symbols
    known = {i: sha256(b"leaf" + opening[n * size :][:size]).digest() for n, i in enumerate(indices)}
    rest = opening[len(indices) * size :]
    count, rest = int.from_bytes(rest[:4], "little"), rest[4:]
    siblings = [rest[32 * i :][:32] for i in range(count)]
    assert len(rest) == 32 * count
    for _ in range(depth):
        level: dict[int, bytes] = {}
        for i in sorted(known):
            if i >> 1 not in level:
                other = known[i ^ 1] if i ^ 1 in known else siblings.pop(0)
                level[i >> 1] = sha256(other + known[i] if i & 1 else known[i] + other).digest()
        known = level
    assert not siblings
    return known[0]


@pytest.mark.parametrize("indices", [[0], [0, 1], [31], [3, 4, 5, 17, 30], list(range(32))])
def test_multiproofs(indices: list[int]) -> None:
    """An opening leads to the root and holds each sibling that cannot be computed, none twice; another leaf leads elsewhere."""
    tree = merkle.tree(_vector(_numbers(128, 10)), 4)
    opening = tree.opening(indices)
    assert _root_of(opening, indices, 4, 5) == tree.root
    changed = bytes([opening[0] ^ 1]) + opening[1:]
    assert _root_of(changed, indices, 4, 5) != tree.root


def test_transcript() -> None:
    """States, challenges and indices are those of the specification's formulas; the proof is what was sent, in order."""
    transcript = Transcript(b"verinfer-sc/1")
    state = sha256(b"\x03verinfer-sc/1").digest()
    assert transcript.state == state
    transcript.absorb(b"net", b"{}")
    state = sha256(b"\0" + state + b"\x03net" + (2).to_bytes(8, "little") + b"{}").digest()
    assert transcript.state == state
    transcript.send_k(b"g", (1, 2), (P - 1, 0))
    sent = b"".join(n.to_bytes(8, "little") for n in (1, 2, P - 1, 0))
    state = sha256(b"\0" + state + b"\x01g" + (32).to_bytes(8, "little") + sent).digest()
    state = sha256(b"\x01" + state + b"\x05logup").digest()
    blocks = [sha256(b"\x02" + state + i.to_bytes(4, "little")).digest() for i in range(2)]
    halves = [tuple(int.from_bytes(b[i : i + 16], "little") % P for i in (0, 16)) for b in blocks]
    assert transcript.challenges(b"logup", 2) == halves
    transcript.append(b"opening")
    assert transcript.state == state
    assert transcript.challenges(b"zlin", 0) == []
    state = sha256(b"\x01" + state + b"\x04zlin").digest()
    assert transcript.state == state
    state = sha256(b"\x01" + state + b"\x05query").digest()
    drawn = [sha256(b"\x02" + state + i.to_bytes(4, "little")).digest()[:8] for i in range(40)]
    assert transcript.indices(40, 16) == sorted({int.from_bytes(b, "little") % 16 for b in drawn})
    assert transcript.proof() == sent + b"opening"


def test_threads_agree_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codeword and its root are the same on one thread and on several."""
    message = _vector(_numbers(1 << 12, 11))
    roots = set()
    for count in ("1", "2", "3"):
        monkeypatch.setenv("VERINFER_SUMCHECK_THREADS", count)
        threads.reset()
        assert threads.workers() == int(count)
        roots.add(merkle.tree(reed_solomon.encode(message, 2), 8).root)
    monkeypatch.undo()
    threads.reset()
    assert len(roots) == 1
