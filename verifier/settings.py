"""EZKL's settings as one canonical file, and the check that they say what the manifest says.

EZKL's own verifier accepts changed scales, visibilities and bounds (docs: settings are not bound by the proof), so they are
pinned by digest and also compared field by field with the manifest that readers take scales and shapes from.
Canonical: no timestamp, the two arrays whose order varies between processes sorted, the two sizes that vary by a row
between processes rounded up, RFC 8785.
"""

from __future__ import annotations

from typing import Any

from . import strict_json
from .errors import Malformed
from .manifest import EzklSystem, Manifest

SETTINGS_LIMIT = 4 << 20

ROUNDING = 256
"""EZKL's dummy layout counts a row or two more or less from run to run; only the number of column blocks follows from it."""

_SIZES = ("num_rows", "total_assignments")
_UNORDERED = ("required_range_checks", "required_lookups")
_VISIBILITIES: dict[str, Any] = {
    "public": "Public",
    "private": "Private",
    "hashed": {"Hashed": {"hash_is_public": True, "outlets": []}},
    "fixed": "Fixed",
}
_TYPES = {"FP32": "F32", "INT64": "Int"}

_FIELDS = frozenset(
    [
        "check_mode",
        "einsum_params",
        "input_types",
        "max_dynamic_input_len",
        "model_input_scales",
        "model_instance_shapes",
        "model_output_scales",
        "module_sizes",
        "num_blinding_factors",
        "num_dynamic_lookups",
        "num_rows",
        "num_shuffles",
        "output_types",
        "required_lookups",
        "required_range_checks",
        "run_args",
        "total_assignments",
        "total_const_size",
        "total_dynamic_col_size",
        "total_shuffle_col_size",
        "version",
    ]
)
"""Everything that EZKL 23.0.5 writes but the timestamp; what it might read besides is nobody's to choose."""

MOST_HASH_ROWS = 1 << 26
"""Rows that hashing inputs may take: the largest circuit's."""

_FIXED_RUN_ARGS = {
    "bounded_log_lookup": False,
    "check_mode": "UNSAFE",
    "epsilon": 2.220446049250313e-16,
    "ignore_range_check_inputs_outputs": False,
    "rebase_frac_zero_constants": False,
    "rebase_scale": None,
    "variables": [["batch_size", 1]],
}
"""Run args that no circuit of verinfer's differs in."""


def canonical_settings(data: bytes) -> bytes:
    """The canonical form of the settings file that EZKL wrote; raises `Malformed` (``settings-malformed``)."""
    value = _parse(data)
    value.pop("timestamp", None)
    for name in _UNORDERED:
        value[name] = sorted(value[name], key=strict_json.canonical)
    for name in _SIZES:
        value[name] = -(-value[name] // ROUNDING) * ROUNDING
    return strict_json.canonical(value)


def check_settings(data: bytes, manifest: Manifest) -> None:
    """Raise `Malformed` (``settings-malformed``) unless these canonical settings say exactly what the manifest says."""
    if canonical_settings(data) != data:
        raise Malformed("settings-malformed", "The settings are not in canonical form.")
    value = _parse(data)
    _same_fields(value, _FIELDS)
    expected = _expected_run_args(manifest.ezkl)
    _same_fields(value.get("run_args"), frozenset(expected))
    _compare(value.get("run_args"), expected)
    given = [tensor for tensor in manifest.layout if tensor.role != "output"]
    # Where inputs are hidden, the challenge is an output, too, before the model's.
    made = [tensor for tensor in manifest.layout if tensor.role == "output"]
    shown = made if manifest.visibility == "public" else manifest.layout[len(given) - 1 :]
    _compare(
        value,
        {
            "version": manifest.ezkl.version,
            "check_mode": "UNSAFE",
            "num_blinding_factors": None,
            "input_types": [_TYPES[tensor.dtype] for tensor in given],
            "model_instance_shapes": [
                list(tensor.shape) for tensor in manifest.layout if tensor.visibility == "public"
            ],
            "model_input_scales": [tensor.scale for tensor in given],
            "model_output_scales": [tensor.scale for tensor in shown],
        },
    )
    _check_modules(value.get("module_sizes"), len(given) if manifest.visibility == "hashed" else 0)


def _check_modules(sizes: Any, hashes: int) -> None:
    """Raise unless the circuit has so many Poseidon hashes as instances, and no polynomial commitment."""
    rows = sizes["poseidon"][0] if hashes and _has_poseidon(sizes) else 0
    if type(rows) is not int or not 0 <= rows < MOST_HASH_ROWS:
        rows = 0
    _compare({"module_sizes": sizes}, {"module_sizes": {"polycommit": [], "poseidon": [rows, [hashes]]}})


def _has_poseidon(sizes: Any) -> bool:
    found = sizes.get("poseidon") if isinstance(sizes, dict) else None
    return isinstance(found, list) and len(found) == 2


def _same_fields(actual: Any, expected: frozenset[str]) -> None:
    if not isinstance(actual, dict) or set(actual) != expected:
        odd = sorted(expected ^ set(actual if isinstance(actual, dict) else ()))
        raise Malformed(
            "settings-malformed", f"The settings have other fields than EZKL writes: {odd[0][:64]}."
        )


def _compare(actual: Any, expected: dict[str, Any]) -> None:
    """Raise unless the object `actual` has these values, by their canonical bytes: to Python, True equals 1."""
    if not isinstance(actual, dict):
        raise Malformed("settings-malformed", "run_args is not an object.", field="run_args")
    for name, wanted in expected.items():
        if strict_json.canonical(actual.get(name)) != strict_json.canonical(wanted):
            raise Malformed(
                "settings-malformed", f"The settings' {name} differs from the manifest's.", field=name
            )


def _expected_run_args(system: EzklSystem) -> dict[str, Any]:
    args = system.run_args
    return {
        "input_scale": args.input_scale,
        "param_scale": args.param_scale,
        "scale_rebase_multiplier": args.scale_rebase_multiplier,
        "lookup_range": list(args.lookup_range),
        "logrows": args.logrows,
        "num_inner_cols": args.num_inner_cols,
        "decomp_base": args.decomp_base,
        "decomp_legs": args.decomp_legs,
        "disable_freivalds": args.disable_freivalds,
        "input_visibility": _VISIBILITIES[args.input_visibility],
        "output_visibility": _VISIBILITIES[args.output_visibility],
        "param_visibility": _VISIBILITIES[args.param_visibility],
        **_FIXED_RUN_ARGS,
    }


def _parse(data: bytes) -> dict[str, Any]:
    value = strict_json.parse(data, limit=SETTINGS_LIMIT, what="settings", floats=True)
    if not isinstance(value, dict) or not all(isinstance(value.get(name), list) for name in _UNORDERED):
        raise Malformed("settings-malformed", "These are not EZKL settings.")
    if not all(isinstance(value.get(name), int) and not isinstance(value[name], bool) for name in _SIZES):
        raise Malformed("settings-malformed", "The settings have no sizes.")
    return value
