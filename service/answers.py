"""The answer to an inference request, in the Open Inference Protocol's form; outputs are read from the receipt's statement."""

from __future__ import annotations

from typing import Any

from verinfer.verifier import numbers
from verinfer.verifier.manifest import Manifest, ModelIdentity, Tensor
from verinfer.verifier.receipt import parse_receipt
from verinfer.verifier.statement import TensorValue

from .receipt_store import StoredReceipt
from .schemas import InferRequest


def with_receipt(
    request: InferRequest, manifest: Manifest, receipt: StoredReceipt, job: str | None
) -> dict[str, Any]:
    """The outputs that were wanted, and the receipt as JSON text."""
    values = {tensor.name: tensor for tensor in parse_receipt(receipt.body).statement.predicate.output}
    wanted = {wish.name for wish in request.outputs}
    outputs = [
        {
            "name": tensor.name,
            "datatype": tensor.dtype,
            "shape": list(tensor.shape),
            "data": _data(tensor, values[tensor.name]),
        }
        for tensor in manifest.tensors("output")
        if not wanted or tensor.name in wanted
    ]
    parameters = {"receipt": receipt.body.decode("utf-8"), "receipt_digest": receipt.digest}
    return _answer(request, manifest.model, outputs, {**parameters, **({"job": job} if job else {})})


def with_job(request: InferRequest, model: ModelIdentity, job: str) -> dict[str, Any]:
    """No outputs yet, but the job that will have them."""
    return _answer(request, model, [], {"job": job})


def _answer(
    request: InferRequest, model: ModelIdentity, outputs: list[dict[str, Any]], parameters: dict[str, str]
) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_version": model.version,
        **({"id": request.id} if request.id is not None else {}),
        "outputs": outputs,
        "parameters": parameters,
    }


def _data(tensor: Tensor, stated: TensorValue) -> list[float | int]:
    if isinstance(stated.value, str):
        return list(numbers.decode(stated.value, tensor.dtype))
    if tensor.dtype == "INT64" and tensor.scale == 0:
        return list(stated.value)
    return [numbers.dequantise(value, tensor.scale) for value in stated.value]
