"""``/v2``: the Open Inference Protocol v2 over REST, with the parameters ``mode``, ``nonce``, ``audience`` and ``salt``."""

from __future__ import annotations

import time
from importlib.metadata import version as installed
from typing import Any, get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from verinfer.circuits.package import Package
from verinfer.verifier.digest import is_hex32
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.statement import Mode

from .. import answers, signed, tensors
from ..bodies import parse_body, read_body
from ..errors import Refused
from ..idempotency import Key, read_key
from ..jobs import Job, Order, State
from ..parts import Parts, UseParts
from ..preferences import Preference, read_preference
from ..problems import problem
from ..schemas import InferParameters, InferRequest, read_request
from ..waiting import wait_for_end

router = APIRouter(prefix="/v2")

_PROVEN: tuple[Mode, ...] = ("zk", "proof")


@router.get("")
async def server() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": "verinfer", "version": installed("verinfer"), "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """This process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(parts: UseParts) -> dict[str, bool]:
    """It answers, and a supervisor works."""
    if not parts.supervision.is_alive():
        raise Refused("not-ready", "No supervisor is at work; one should start within seconds.")
    return {"ready": True}


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model(parts: UseParts, name: str, version: str | None = None) -> dict[str, Any]:
    """A model's metadata."""
    manifest = (await parts.find(name, version)).manifest
    return {
        "name": name,
        "versions": list(parts.resources.catalogue.models[name]),
        "platform": f"verinfer_{manifest.proof_system.name}",
        "inputs": _tensors(manifest, "input"),
        "outputs": _tensors(manifest, "output"),
    }


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
async def model_ready(parts: UseParts, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether the model can be asked; a package is checked before the server listens."""
    await parts.find(name, version)
    return {"name": name, **await ready(parts)}


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(request: Request, parts: UseParts, name: str, version: str | None = None) -> JSONResponse:
    """Answer at once with a signed receipt (``none``), or with a proven one when it is there (``zk``, ``proof``)."""
    settings = parts.resources.settings
    package = await parts.find(name, version)
    body = await read_body(request, limit=settings.body_bytes, seconds=settings.body_seconds)
    asked = await run_in_threadpool(lambda: read_request(parse_body(body)))
    mode = _mode(asked.parameters, package.manifest)
    _check_outputs(asked, package.manifest)
    key = read_key(request.headers.get("idempotency-key"), request.url.path.encode() + b"\n" + body)
    inputs = await run_in_threadpool(tensors.read_inputs, asked.inputs, package.manifest)
    if mode in _PROVEN:
        preference = read_preference(request.headers.getlist("prefer"), settings)
        return await _prove(
            parts, package, asked, _order(package, mode, asked.parameters, inputs), key, preference
        )
    receipt = await signed.answer(
        parts.resources,
        parts.workers,
        package,
        inputs,
        nonce=asked.parameters.nonce,
        audience=asked.parameters.audience,
        key=key,
    )
    return JSONResponse(answers.with_receipt(asked, package.manifest, receipt, None))


async def _prove(
    parts: Parts, package: Package, asked: InferRequest, order: Order, key: Key | None, preference: Preference
) -> JSONResponse:
    resources = parts.resources
    limit = resources.settings.queue_limit
    known = await run_in_threadpool(resources.jobs.add, order, now=time.time(), queue_limit=limit, key=key)
    assert known.job is not None
    parts.supervision.wake()
    job = await wait_for_end(resources.jobs, parts.events, known.job, seconds=preference.seconds)
    response = await _answer(parts, package, asked, job)
    if preference.applied:
        response.headers["Preference-Applied"] = preference.applied
    return response


async def _answer(parts: Parts, package: Package, asked: InferRequest, job: Job) -> JSONResponse:
    if job.receipt_digest is not None:
        receipt = await run_in_threadpool(parts.resources.receipts.get, job.receipt_digest)
        return JSONResponse(answers.with_receipt(asked, package.manifest, receipt, job.id))
    if job.state is State.CANCELLED:
        return problem("job-cancelled", job=job.id)
    if job.code is not None:
        return problem(job.code, job.detail or "", job=job.id)
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"}
    return JSONResponse(
        answers.with_job(asked, package.manifest.model, job.id), status_code=202, headers=headers
    )


def _mode(parameters: InferParameters, manifest: Manifest) -> Mode:
    """The mode that was asked, if it is offered and the nonce and the salt fit it."""
    modes: tuple[Mode, ...] = get_args(Mode)
    mode = next((known for known in modes if known == parameters.mode), None)
    if mode is None:
        raise Refused("mode-unknown", f"The modes are {', '.join(modes)}.", field="parameters.mode")
    if mode in ("zk", "tee+zk") and manifest.proof_system.name != "ezkl-halo2-kzg":
        raise Refused(
            "not-zero-knowledge",
            "Proofs of this model show that the answer is right and hide nothing: ask for mode proof.",
            field="parameters.mode",
        )
    if mode != "none" and mode not in _PROVEN:
        raise Refused(
            "mode-unsupported", f"The mode {mode} is not offered here yet.", field="parameters.mode"
        )
    if parameters.nonce is None and mode in _PROVEN:
        raise Refused("nonce-missing", field="parameters.nonce")
    if parameters.nonce is not None and not is_hex32(parameters.nonce):
        raise Refused("nonce-malformed", field="parameters.nonce")
    if manifest.visibility != "public" and mode not in _PROVEN:
        raise Refused(
            "mode-unsupported",
            f"The inputs of this model are {manifest.visibility}, and an answer without a proof would name them: ask"
            f" for mode {_PROVEN[0]}.",
            field="parameters.mode",
        )
    _check_salt(parameters.salt, manifest)
    return mode


def _check_salt(salt: str | None, manifest: Manifest) -> None:
    if manifest.visibility != "hashed":
        if salt is not None:
            raise Refused("salt-unexpected", field="parameters.salt")
    elif salt is None:
        raise Refused("salt-missing", field="parameters.salt")
    elif not is_hex32(salt):
        raise Refused("salt-malformed", field="parameters.salt")


def _order(package: Package, mode: Mode, parameters: InferParameters, inputs: tensors.Values) -> Order:
    assert parameters.nonce is not None
    return Order(
        model=package.manifest.model.name,
        version=package.manifest.model.version,
        circuit=package.digest,
        mode=mode,
        nonce=parameters.nonce,
        audience=parameters.audience,
        inputs=tensors.quantise(inputs, package.manifest, parameters.salt),
    )


def _check_outputs(asked: InferRequest, manifest: Manifest) -> None:
    names = {tensor.name for tensor in manifest.tensors("output")}
    for wish in asked.outputs:
        if wish.name not in names:
            raise Refused("output-unknown", field=wish.name)


def _tensors(manifest: Manifest, role: Any) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "datatype": tensor.dtype, "shape": list(tensor.shape)}
        for tensor in manifest.tensors(role)
    ]
