"""Decision trees as arithmetic: each comparison once, then one product for each node.

With c(n) = 1 where node n's comparison holds and p(n) = 1 where n is reached, q(n) = p(n)·c(n) says that its true branch is
taken. p of a true child is q(n), of a false child p(n) - q(n). The sum over all reached leaves is a constant plus one multiple of
each q(n): with f(n) the leaf found by going from n to the false side always, that is f(true child) - f(false child).
So a circuit pays for a comparison, a product and at most a difference for each node, and nothing for leaves.

Source: ONNX ``ai.onnx.ml`` operator schemas, TreeEnsembleClassifier and TreeEnsembleRegressor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from .graph import Graph, attribute
from .scores import both_classes, class_count, transform, unsupported

MOST_NODES = 1 << 17
"""More could be rewritten, and not be proven."""

_COMPARISONS = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
}
_OPPOSITES = {"BRANCH_LEQ": "BRANCH_GT", "BRANCH_GTE": "BRANCH_LT"}
"""Before opset 12 the first ones have no operator: there the opposite is asked, and the children change places."""

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Ensemble:
    """A node's attributes, checked as far as lengths go; `leaves` holds [targets] by (tree, node)."""

    modes: list[str]
    features: list[int]
    thresholds: npt.NDArray[np.float32]
    children: list[tuple[tuple[int, int], tuple[int, int]]]
    index: dict[tuple[int, int], int]
    leaves: dict[tuple[int, int], Weights]
    targets: int


@dataclass(slots=True)
class _Level:
    """The inner nodes of one depth: their places in the ensemble, and for each where it hangs in the level above."""

    nodes: list[int] = field(default_factory=list)
    true_of: list[int] = field(default_factory=list)
    false_of: list[int] = field(default_factory=list)


def classifier(graph: Graph, node: onnx.NodeProto) -> None:
    """Write a TreeEnsembleClassifier's scores, [N, classes], as its second output; labels are left out."""
    ids = attribute(node, "class_ids", [])
    classes = class_count(
        attribute(node, "classlabels_int64s", []), attribute(node, "classlabels_strings", [])
    )
    weights = _numbers(node, "class_weights")
    post, base, output = (
        attribute(node, "post_transform", "NONE"),
        _numbers(node, "base_values"),
        node.output[1],
    )
    if classes == 2 and len(set(ids)) == 1:
        ensemble = _read(graph, node, "class", [0] * len(ids), 1)
        score = _write(graph, node, ensemble, base[-1:] if len(base) else np.zeros(1))
        positive = bool((weights >= 0).all())
        both_classes(graph, score, post, output, probability=positive)
        return
    ensemble = _read(graph, node, "class", ids, classes)
    transform(graph, _write(graph, node, ensemble, _spread(base, classes)), post, output)


def regressor(graph: Graph, node: onnx.NodeProto) -> None:
    """Write a TreeEnsembleRegressor's output, [N, targets]."""
    targets = attribute(node, "n_targets", 1)
    kind = attribute(node, "aggregate_function", "SUM")
    ensemble = _read(graph, node, "target", attribute(node, "target_ids", []), targets)
    if kind not in ("SUM", "AVERAGE"):
        raise unsupported(f"the aggregate_function {kind[:32]} of TreeEnsembleRegressor has no rewrite")
    share = 1.0 / len({tree for tree, _ in ensemble.index}) if kind == "AVERAGE" else 1.0
    base = _spread(_numbers(node, "base_values"), targets)
    score = _write(graph, node, ensemble, base, share)
    transform(graph, score, attribute(node, "post_transform", "NONE"), node.output[0])


def _read(graph: Graph, node: onnx.NodeProto, kind: str, ids: Sequence[int], targets: int) -> _Ensemble:
    trees, numbers = attribute(node, "nodes_treeids", []), attribute(node, "nodes_nodeids", [])
    modes = [mode.decode() for mode in attribute(node, "nodes_modes", [])]
    features = list(attribute(node, "nodes_featureids", []))
    thresholds = _numbers(node, "nodes_values")
    whens = attribute(node, "nodes_truenodeids", [])
    elses = attribute(node, "nodes_falsenodeids", [])
    leaf_trees, leaf_nodes = attribute(node, f"{kind}_treeids", []), attribute(node, f"{kind}_nodeids", [])
    weights = _numbers(node, f"{kind}_weights")
    lengths = {len(item) for item in (trees, numbers, modes, features, thresholds, whens, elses)}
    if lengths == {0} or len(lengths) != 1:
        raise unsupported("a tree ensemble has no nodes, or attributes of different lengths")
    if len({len(item) for item in (ids, leaf_trees, leaf_nodes, weights)}) != 1:
        raise unsupported("a tree ensemble's leaves have attributes of different lengths")
    if len(trees) > MOST_NODES:
        raise unsupported(
            f"a tree ensemble has {len(trees)} nodes, more than {MOST_NODES}; use fewer or lower trees"
        )
    keys = list(zip(trees, numbers, strict=True))
    index = {key: place for place, key in enumerate(keys)}
    if len(index) != len(keys):
        raise unsupported("two nodes of a tree ensemble have one number")
    leaves: dict[tuple[int, int], Weights] = {}
    for tree, number, target, weight in zip(leaf_trees, leaf_nodes, ids, weights, strict=True):
        if not 0 <= target < targets:
            raise unsupported("a leaf of a tree ensemble is of no class")
        leaves.setdefault((tree, number), np.zeros(targets))[target] += float(weight)
    children = [((tree, when), (tree, other)) for tree, when, other in zip(trees, whens, elses, strict=True)]
    if graph.opset < 12:
        children = [
            pair[::-1] if mode in _OPPOSITES else pair for mode, pair in zip(modes, children, strict=True)
        ]
        modes = [_OPPOSITES.get(mode, mode) for mode in modes]
    return _Ensemble(modes, features, thresholds.astype(np.float32), children, index, leaves, targets)


def _write(graph: Graph, node: onnx.NodeProto, ensemble: _Ensemble, base: Weights, share: float = 1.0) -> str:
    """The sums of all trees, [N, targets]; gives their tensor's name."""
    hint = node.output[-1]
    levels, order = _levels(ensemble)
    constant, multiples = _linear(ensemble, order)
    bias = graph.new_constant((constant * share + base).astype(np.float32)[None, :], f"{hint}.bias")
    if not levels:
        # Every tree is a single leaf: the input only gives the batch.
        zero = graph.new_constant(
            np.zeros((_width(graph, node), ensemble.targets), np.float32), f"{hint}.zero"
        )
        nothing = graph.emit("MatMul", [_features(graph, node), zero], graph.fresh(f"{hint}.nothing"))
        return graph.emit("Add", [nothing, bias], graph.fresh(f"{hint}.sum"))
    holds, places = _comparisons(graph, node, ensemble, order)
    taken = _taken(graph, hint, levels, holds, places)
    rows = np.stack([multiples[place] for level in levels for place in level.nodes]) * share
    weights = graph.new_constant(rows.astype(np.float32), f"{hint}.weights")
    product = graph.emit("MatMul", [taken, weights], graph.fresh(f"{hint}.product"))
    return graph.emit("Add", [product, bias], graph.fresh(f"{hint}.sum"))


def _levels(ensemble: _Ensemble) -> tuple[list[_Level], list[int]]:
    """Inner nodes by depth, true children before false ones, and all places in an order in which parents come first."""
    below = {
        key for place, pair in enumerate(ensemble.children) if ensemble.modes[place] != "LEAF" for key in pair
    }
    order = [place for key, place in ensemble.index.items() if key not in below]
    if len(order) != len({tree for tree, _ in ensemble.index}):
        raise unsupported("a tree of an ensemble has no root, or several")
    level = _Level([place for place in order if ensemble.modes[place] != "LEAF"])
    levels: list[_Level] = []
    while level.nodes:
        levels.append(level)
        following = _Level()
        falses: list[int] = []
        for position, place in enumerate(level.nodes):
            for is_true, key in zip((True, False), ensemble.children[place], strict=True):
                child = ensemble.index.get(key)
                if child is None or len(order) > len(ensemble.index):
                    raise unsupported(
                        "a tree of an ensemble refers to a node that it does not have, or to one twice"
                    )
                order.append(child)
                if ensemble.modes[child] != "LEAF":
                    (following.true_of if is_true else following.false_of).append(position)
                    (following.nodes if is_true else falses).append(child)
        following.nodes += falses
        level = following
    if len(order) != len(ensemble.index):
        raise unsupported("a tree of an ensemble refers to a node that it does not have, or to one twice")
    return levels, order


def _linear(ensemble: _Ensemble, order: list[int]) -> tuple[Weights, dict[int, Weights]]:
    """The constant part of the sums, and for each inner node the multiple of its q."""
    keys = {place: key for key, place in ensemble.index.items()}
    nothing = np.zeros(ensemble.targets)
    falsest: dict[int, Weights] = {}
    multiples: dict[int, Weights] = {}
    for place in reversed(order):
        if ensemble.modes[place] == "LEAF":
            falsest[place] = ensemble.leaves.get(keys[place], nothing)
            continue
        when, other = (falsest[ensemble.index[key]] for key in ensemble.children[place])
        falsest[place], multiples[place] = other, when - other
    roots = len({tree for tree, _ in ensemble.index})
    return np.sum([falsest[place] for place in order[:roots]], axis=0), multiples


def _comparisons(
    graph: Graph, node: onnx.NodeProto, ensemble: _Ensemble, order: list[int]
) -> tuple[str, dict[int, int]]:
    """Each different comparison once, as 0 or 1, [N, comparisons]; and for each inner node which one is its own."""
    hint, width = node.output[-1], _width(graph, node)
    inner = [place for place in order if ensemble.modes[place] != "LEAF"]
    parts: list[str] = []
    places: dict[int, int] = {}
    given, count = _features(graph, node), 0
    for mode in sorted({ensemble.modes[place] for place in inner}):
        if mode not in _COMPARISONS:
            raise unsupported(f"the node mode {mode[:32]} of a tree ensemble has no rewrite")
        members = [place for place in inner if ensemble.modes[place] == mode]
        asked = {place: (ensemble.features[place], float(ensemble.thresholds[place])) for place in members}
        different = sorted(set(asked.values()))
        if not 0 <= different[0][0] <= different[-1][0] < width:
            raise unsupported("a tree ensemble compares a feature that its input does not have")
        features = graph.new_constant(np.array([one for one, _ in different], np.int64), f"{hint}.features")
        thresholds = graph.new_constant(
            np.array([[one for _, one in different]], np.float32), f"{hint}.thresholds"
        )
        values = graph.emit("Gather", [given, features], graph.fresh(f"{hint}.values"), axis=1)
        truth = graph.emit(_COMPARISONS[mode], [values, thresholds], graph.fresh(f"{hint}.truth"))
        parts.append(graph.emit("Cast", [truth], graph.fresh(f"{hint}.holds"), to=TensorProto.FLOAT))
        where = {one: count + number for number, one in enumerate(different)}
        places |= {place: where[one] for place, one in asked.items()}
        count += len(different)
    if len(parts) == 1:
        return parts[0], places
    return graph.emit("Concat", parts, graph.fresh(f"{hint}.holds"), axis=1), places


def _taken(graph: Graph, hint: str, levels: list[_Level], holds: str, places: dict[int, int]) -> str:
    """The q of every inner node, level after level, [N, nodes]."""

    def gather(name: str, positions: list[int]) -> str:
        chosen = graph.new_constant(np.array(positions, np.int64), f"{hint}.which")
        return graph.emit("Gather", [name, chosen], graph.fresh(f"{hint}.gathered"), axis=1)

    taken: list[str] = []
    reached = graph.new_constant(np.ones((1, len(levels[0].nodes)), np.float32), f"{hint}.roots")
    for level in levels:
        compared = gather(holds, [places[place] for place in level.nodes])
        if not taken:
            taken.append(compared)
            continue
        parts = []
        if level.true_of:
            parts.append(gather(taken[-1], level.true_of))
        if level.false_of:
            pair = [gather(name, level.false_of) for name in (reached, taken[-1])]
            parts.append(graph.emit("Sub", pair, graph.fresh(f"{hint}.other")))
        reached = (
            parts[0]
            if len(parts) == 1
            else graph.emit("Concat", parts, graph.fresh(f"{hint}.reached"), axis=1)
        )
        taken.append(graph.emit("Mul", [reached, compared], graph.fresh(f"{hint}.taken")))
    return taken[0] if len(taken) == 1 else graph.emit("Concat", taken, graph.fresh(f"{hint}.all"), axis=1)


def _features(graph: Graph, node: onnx.NodeProto) -> str:
    return graph.emit("Cast", [node.input[0]], graph.fresh(f"{node.output[-1]}.input"), to=TensorProto.FLOAT)


def _width(graph: Graph, node: onnx.NodeProto) -> int:
    shape = graph.shape(node.input[0])
    if shape is None or len(shape) != 2:
        raise unsupported("a tree ensemble takes something other than rows of features")
    return shape[1]


def _numbers(node: onnx.NodeProto, name: str) -> npt.NDArray[np.float64]:
    """An attribute that may be a list of floats or, as ``NAME_as_tensor``, a tensor."""
    tensor = attribute(node, f"{name}_as_tensor", None)
    found = attribute(node, name, []) if tensor is None else numpy_helper.to_array(tensor).ravel()
    return np.asarray(found, dtype=np.float64)


def _spread(base: npt.NDArray[np.float64], targets: int) -> Weights:
    if len(base) not in (0, 1, targets):
        raise unsupported("a tree ensemble's base_values are neither one nor one for each class")
    return np.broadcast_to(base if len(base) else np.zeros(1), (targets,))
