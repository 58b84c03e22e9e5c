"""A slow prover of verinfer-sc/1 for tests, in plain Python, from the text: dense vectors, no cleverness.

Of the verifier it uses the field and the transcript alone, so it lays out, weighs and commits on its own.
Methods that give back what they are given are the places where a dishonest prover could lie; `liars` override them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from math import prod

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, P, add, lerp, mul, scale, sub, total

from . import dense
from .codes import Terms, Tree, W, X, applied, base_tree, digits, divide, limbs, place, weighed
from .dense import bits
from .layers import Layers
from .network import Json, Network, Tensor, rescaled, run, shapes


class Prover(Layers):
    """Proofs for one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.description = network.description
        self.layers = self.description["layers"]
        self.shapes = shapes(self.description)
        self.t = self.description["t"]
        self.pcs = self.description["pcs"]
        sizes: list[tuple[str | int, int]] = [("m", self.t + 1)]
        self.widths = {}
        for index, layer in enumerate(self.layers):
            for name, width in self.columns_of(index, layer):
                sizes.append((name, self.nu(index)))
                self.widths[name] = width
        self.sizes = dict(sizes)
        self.offsets, used = place(sizes)
        weight_sizes: list[tuple[str | int, int]] = []
        for index in self.weighted:
            rows = bits(self.channels(index))
            weight_sizes += [(f"W{index}", sum(map(bits, self.reduction(index))) + rows), (f"b{index}", rows)]
        self.weight_sizes = dict(weight_sizes)
        self.weight_offsets, weights_used = place(weight_sizes)
        final_bits = self.pcs["final_bits"]
        self.v, self.vw = max(used, final_bits + 1), max(weights_used, final_bits + 1)
        self.v1 = max(final_bits, min(self.v, self.vw) - self.pcs["leaf_bits"])
        self.weights = self.packed_weights()
        self.weight_tree = base_tree(self.weights, self.pcs["log_blowup"], 1 << (self.vw - self.v1))

    @property
    def root(self) -> bytes:
        return self.weight_tree.root

    def columns_of(self, index: int, layer: Json) -> list[tuple[str, int]]:
        """Names and widths of a layer's columns."""
        if "final" in layer:
            return []
        groups = {"Y": layer["a"], "N": layer["nb"], "H": layer["hb"], "R": layer["s"]}
        return [
            (f"{group}{number}.{index}", width)
            for group, whole in groups.items()
            for number, width in enumerate(limbs(whole, self.t))
        ]

    def packed_weights(self) -> list[int]:
        """P_w."""
        packed = [0] * (1 << self.vw)
        for name, cells in self.network.weights.items():
            block = dense.padded(self.weight_dims(name), cells)
            start = self.weight_offsets[name]
            packed[start : start + len(block)] = block
        return packed

    def weight_dims(self, name: str) -> tuple[int, ...]:
        index = int(name[1:])
        return self.channels(index), *(self.reduction(index) if name[0] == "W" else ())

    def columns(self, x: Tensor) -> tuple[dict[str, list[int]], Tensor]:
        """The witness's columns by name, padded, and the network's output."""
        traces = run(self.network, x, self.activations)
        columns: dict[str, list[int]] = {}
        for index, (layer, trace) in enumerate(zip(self.layers, traces, strict=True)):
            if "final" in layer:
                continue
            parts: dict[str, list[int]] = {}
            for cell, (acc, out) in enumerate(zip(trace.acc, trace.out, strict=True)):
                widths = {"Y": layer["a"], "N": layer["nb"], "H": layer["hb"], "R": layer["s"]}
                for group, value in self.numbers(index, cell, acc, out).items():
                    for number, digit in enumerate(digits(value, limbs(widths[group], self.t), self.t)):
                        parts.setdefault(f"{group}{number}.{index}", []).append(digit)
            columns |= {name: dense.padded(trace.dims, cells) for name, cells in parts.items()}
        return columns, traces[-1].out

    def activations(self, index: int, out: Tensor) -> Tensor:
        """What a layer gives to those after it."""
        return out

    def numbers(self, index: int, cell: int, acc: int, out: int) -> dict[str, int]:
        """Activation, excess and remainder of a cell, for which the rescaling's equation holds whatever `out` is."""
        layer = self.layers[index]
        q = rescaled(layer, acc)
        below, above = max(0, layer["lo"] - q), max(0, q - layer["lo"] - (1 << layer["a"]) + 1)
        rest = layer["M"] * acc + (1 << (layer["s"] - 1)) - ((out - below + above) << layer["s"])
        return {"Y": out - layer["lo"], "N": below, "H": above, "R": rest}

    def multiplicities(self, cells: Iterable[tuple[int, int]]) -> list[int]:
        """m: how often each slot of the range table is hit by (value, tag)."""
        found = [0] * (2 << self.t)
        for value, tag in cells:
            if 0 <= value < 1 << tag:
                found[(1 << tag) + value] += 1
        return found

    def output(self, y: Tensor) -> Tensor:
        """What is claimed as the output."""
        return y

    def witness_tree(self, cells: list[int], width: int) -> Tree:
        return base_tree(cells, self.pcs["log_blowup"], width)

    def top(self, values: list[K]) -> list[K]:
        """The root's fractions: p0, p1, q0, q1."""
        return values

    def layer_values(self, level: int, values: list[K], mix: K, claim: K) -> list[K]:
        """The four values behind a layer of the tree of fractions; `claim` is what the verifier expects of them."""
        return values

    def leaf_values(self, values: list[K], needed: list[K]) -> list[K]:
        """e1, e2; with those that are `needed` the leaves' equations hold."""
        return values

    def prove(self, challenge: bytes, x: Tensor) -> tuple[Tensor, bytes]:
        """The output and a proof of it."""
        columns, y = self.columns(x)
        y = self.output(y)
        cells, tags = [0] * (1 << self.v), [0] * (1 << self.v)
        for name, column in columns.items():
            start = self.offsets[name]
            cells[start : start + len(column)] = column
            tags[start : start + len(column)] = [self.widths[name]] * len(column)
        self.start(b"verinfer-sc/1", self.root)
        self.transcript.absorb(b"request", challenge)
        self.transcript.absorb(b"in", struct.pack(f"<{len(x)}q", *x))
        self.transcript.absorb(b"out", struct.pack(f"<{len(y)}q", *y))
        claims, tree = self.commit_and_look_up(b"xroot", cells, tags, self.offsets["m"], self.v)
        claims += self.clamp(cells)
        claims += self.linear(cells, x, y)
        self.open([self.weights, cells], [self.vw, self.v], claims, [self.weight_tree, tree])
        return y, self.proof()

    def commit_and_look_up(
        self, label: bytes, cells: list[int], tags: list[int], start: int, variables: int
    ) -> tuple[list[tuple[Terms, K]], Tree]:
        """Steps 2 to 6; fills the block of multiplicities in."""
        end = start + (2 << self.t)
        outside = [index for index in range(len(cells)) if not start <= index < end]
        cells[start:end] = self.multiplicities((cells[index], tags[index]) for index in outside)
        tree = self.witness_tree(cells, 1 << (variables - self.v1))
        self.send(label, self.tree_root("x", tree))
        alpha, beta = self.transcript.challenges(b"logup", 2)
        fractions: list[tuple[K, K]] = [
            (ONE, sub(sub(alpha, (cell % P, 0)), scale(beta, tag)))
            for cell, tag in zip(cells, tags, strict=True)
        ]
        for slot in range(end - start):
            tag = max(slot.bit_length() - 1, 0)
            value = slot - (1 << tag) if slot else 0
            below = sub(sub(alpha, (value, 0)), scale(beta, tag))
            fractions[start + slot] = ((-cells[start + slot] % P, 0), below)
        point, numerator, denominator = self.tree_of_fractions(fractions, variables)
        low = point[: self.t + 1]
        e1 = total(mul(weight, (cell % P, 0)) for weight, cell in zip(dense.every(point), cells, strict=True))
        block = cells[start:end]
        e2 = total(mul(weight, (cell % P, 0)) for weight, cell in zip(dense.every(low), block, strict=True))
        chosen = dense.equal(point[self.t + 1 :], start >> (self.t + 1))
        # What stands in the denominators beside the cells.
        beside = applied(dense.every(point), [0 if start <= i < end else c for i, c in enumerate(cells)])
        beside = add(
            beside, total(mul(w, d) for w, (_, d) in zip(dense.every(point), fractions, strict=True))
        )
        needed2 = divide(sub(sub(ONE, chosen), numerator), chosen)
        needed1 = add(sub(beside, denominator), mul(chosen, needed2))
        e1, e2 = self.leaf_values([e1, e2], [needed1, needed2])
        self.send_k(b"lu", [e1, e2])
        return [([(X, 0, dense.every(point))], e1), ([(X, start, dense.every(low))], e2)], tree

    def tree_of_fractions(self, fractions: list[tuple[K, K]], variables: int) -> tuple[list[K], K, K]:
        """Steps 4 and 5: a point of the leaves, and what the verifier expects of them there."""
        levels = [fractions]
        while len(levels[-1]) > 2:
            half = len(levels[-1]) // 2
            levels.append(
                [
                    (add(mul(n0, d1), mul(n1, d0)), mul(d0, d1))
                    for (n0, d0), (n1, d1) in zip(levels[-1][:half], levels[-1][half:], strict=True)
                ]
            )
        (p0, q0), (p1, q1) = levels.pop()
        values = self.top([p0, p1, q0, q1])
        self.send_k(b"root", values)
        tau = self.transcript.challenge(b"tau")
        point = [tau]
        for level in range(1, variables):
            mix = self.transcript.challenge(b"lam")
            p0, p1, q0, q1 = values
            claim = add(mul(mix, lerp(p0, p1, tau)), lerp(q0, q1, tau))
            nodes = levels.pop()
            half = len(nodes) // 2
            arrays = [
                [part[which] for part in side] for which in (0, 1) for side in (nodes[:half], nodes[half:])
            ]

            def form(p0: K, p1: K, q0: K, q1: K, mix: K = mix) -> K:
                return add(mul(mix, add(mul(p0, q1), mul(p1, q0))), mul(q0, q1))

            point, true, claim = self.rounds(b"g", arrays, form, claim, point)
            values = self.layer_values(level, true, mix, claim)
            self.send_k(b"gf", values)
            tau = self.transcript.challenge(b"tau")
            point.append(tau)
        p0, p1, q0, q1 = values
        return point, lerp(p0, p1, tau), lerp(q0, q1, tau)

    def clamp(self, cells: list[int]) -> list[tuple[Terms, K]]:
        """Step 7."""
        stacked = {
            index: self.nu(index)
            for index, layer in enumerate(self.layers)
            if "final" not in layer and (layer["nb"] or layer["hb"])
        }
        if not stacked:
            return []
        offsets, size = place(stacked.items())
        where = self.transcript.challenges(b"zc", size)
        gamma = self.transcript.challenge(b"gam")
        arrays = self.stacked_columns(cells, stacked, offsets, size)

        def form(y: K, n: K, h: K, top: K) -> K:
            return add(mul(y, n), mul(gamma, mul(sub(top, y), h)))

        point, values, _ = self.rounds(b"z", arrays, form, ZERO, where)
        values = values[:3]
        self.send_k(b"zf", values)
        claims: list[tuple[Terms, K]] = []
        for group, value in zip("YNH", values, strict=True):
            terms: Terms = []
            for index, nu in stacked.items():
                chosen = dense.equal(point[nu:], offsets[index] >> nu)
                for number, name in self.names(group, index):
                    coefficient = scale(chosen, 1 << (number * self.t))
                    terms.append(weighed(X, self.offsets[name], dense.every(point[:nu]), coefficient))
            claims.append((terms, value))
        return claims

    def stacked_columns(
        self, cells: list[int], stacked: Mapping[int, int], offsets: Mapping[str | int, int], size: int
    ) -> list[list[K]]:
        """Y, N, H and the highest activation, of all layers that can saturate."""
        arrays = [[ZERO] * (1 << size) for _ in range(4)]
        for index, nu in stacked.items():
            spots = range(offsets[index], offsets[index] + (1 << nu))
            for spot in spots:
                arrays[3][spot] = ((1 << self.layers[index]["a"]) - 1, 0)
            for array, group in zip(arrays, "YNH", strict=False):
                for number, name in self.names(group, index):
                    column = cells[self.offsets[name] : self.offsets[name] + (1 << nu)]
                    for spot, cell in zip(spots, column, strict=True):
                        array[spot] = add(array[spot], (cell * (1 << (number * self.t)) % P, 0))
        return arrays

    def limb_cells(self, name: str, width: int) -> dict[str, list[int]]:
        """The limbs of a block of P_w by name: of its valid cells, shifted to be non-negative."""
        widths = limbs(width, self.t)
        dims = self.weight_dims(name)
        cells = self.network.weights[name]
        numbers = [digits(cell + (1 << (width - 1)), widths, self.t) for cell in cells]
        return {
            f"{name}.{limb}": dense.padded(dims, [number[limb] for number in numbers])
            for limb in range(len(widths))
        }

    def prove_key(self) -> bytes:
        """The proof that every weight is within its width."""
        bit_widths = {
            name: self.description["wb" if name[0] == "W" else "bb"] for name in self.network.weights
        }
        sizes: list[tuple[str | int, int]] = [("m", self.t + 1)]
        for name, width in bit_widths.items():
            size = self.weight_sizes[name]
            sizes += [(f"{name}.{limb}", size) for limb in range(len(limbs(width, self.t)))]
        offsets, used = place(sizes)
        variables = max(used, self.pcs["final_bits"] + 1)
        cells, tags = [0] * (1 << variables), [0] * (1 << variables)
        for name, width in bit_widths.items():
            dims = self.weight_dims(name)
            for (limb, column), tag in zip(
                self.limb_cells(name, width).items(), limbs(width, self.t), strict=True
            ):
                start = offsets[limb]
                cells[start : start + len(column)] = column
                tags[start : start + len(column)] = dense.padded(dims, [tag] * prod(dims))
        self.start(b"verinfer-sc/1 key", self.root)
        claims, tree = self.commit_and_look_up(b"kroot", cells, tags, int(offsets["m"]), variables)
        point = self.transcript.challenges(b"key", self.vw)
        terms: Terms = [(W, 0, dense.every(point))]
        value = ZERO
        for name, width in bit_widths.items():
            size, dims = int(self.weight_sizes[name]), self.weight_dims(name)
            chosen = dense.equal(point[size:], self.weight_offsets[name] >> size)
            low = dense.every(point[:size])
            for number in range(len(limbs(width, self.t))):
                coefficient = scale(chosen, -(1 << (number * self.t)))
                terms.append(weighed(X, offsets[f"{name}.{number}"], low, coefficient))
            valid = applied(low, dense.padded(dims, [1] * prod(dims)))
            value = sub(value, scale(mul(chosen, valid), 1 << (width - 1)))
        claims.append((terms, value))
        self.open([self.weights, cells], [self.vw, variables], claims, [self.weight_tree, tree])
        return self.proof()
