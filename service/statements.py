"""What this service claims about an answer: the statement's bytes, for a circuit's integers or onnxruntime's floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from verinfer.verifier import numbers
from verinfer.verifier.manifest import Manifest, Tensor
from verinfer.verifier.statement import Mode, Predicate, encode_statement
from verinfer.verifier.wire import format_time, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer's circumstances: who says it, to which question, when."""

    issuer: str
    nonce: str
    audience: str | None
    mode: Mode
    issued_at: datetime


def of_circuit(
    answer: Answer,
    manifest: Manifest,
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
    hashes: Mapping[str, str],
) -> bytes:
    """The statement about a circuit's integers, by tensor name, flat; of hidden inputs it has the hashes or nothing."""
    shown: dict[str, dict[str, Any]] = {}
    for tensor in manifest.tensors("input"):
        if tensor.visibility == "public":
            shown[tensor.name] = {"value": list(inputs[tensor.name])}
        else:
            shown[tensor.name] = {"hash": hashes[tensor.name]} if tensor.visibility == "hashed" else {}
    shown |= {name: {"value": list(values)} for name, values in outputs.items()}
    runtime = {"kind": "circuit", "version": manifest.proof_system.runtime}
    return _encode(answer, manifest, runtime, shown, circuit=manifest.digest)


def of_onnxruntime(
    answer: Answer,
    manifest: Manifest,
    version: str,
    inputs: Mapping[str, Sequence[float | int]],
    outputs: Mapping[str, Sequence[float | int]],
) -> bytes:
    """The statement about an fp32 answer by onnxruntime, as its `version` names it."""
    dtypes = {tensor.name: tensor.dtype for tensor in manifest.layout}
    values = {
        name: {"value": numbers.encode(items, dtypes[name])}
        for name, items in (*inputs.items(), *outputs.items())
    }
    return _encode(answer, manifest, {"kind": "onnxruntime", "version": version}, values)


def _encode(
    answer: Answer,
    manifest: Manifest,
    runtime: dict[str, str],
    shown: Mapping[str, Mapping[str, Any]],
    **circuit: str,
) -> bytes:
    body = {
        "issuer": answer.issuer,
        "model": manifest.model.to_json(),
        "runtime": runtime,
        **circuit,
        "input": [_tensor(tensor, shown) for tensor in manifest.tensors("input")],
        "output": [_tensor(tensor, shown) for tensor in manifest.tensors("output")],
        "nonce": answer.nonce,
        **({} if answer.audience is None else {"audience": answer.audience}),
        "issued_at": format_time(answer.issued_at),
        "mode": answer.mode,
    }
    return encode_statement(validate(Predicate, body, code="statement-malformed"))


def _tensor(tensor: Tensor, shown: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "visibility": tensor.visibility,
        **shown[tensor.name],
    }
