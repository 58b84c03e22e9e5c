"""``/v1/models``: what is served, and what its clients need to check the answers; all of it public."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from verinfer.circuits import on_chain
from verinfer.circuits.card_page import POLICY, page
from verinfer.circuits.package import Package

from ..errors import Refused
from ..parts import Parts, UseParts

router = APIRouter(prefix="/v1/models")

POLICY_FILE = "policy.json"
"""The owner's policy, if the operator has put it into the package's folder."""


@router.get("")
async def models(parts: UseParts) -> dict[str, Any]:
    """Every model and version."""
    await run_in_threadpool(parts.resources.catalogue.refresh)
    return {"models": [_describe(package) for package in parts.resources.catalogue]}


@router.get("/{name}")
@router.get("/{name}/versions/{version}")
async def model(parts: UseParts, name: str, version: str | None = None) -> dict[str, Any]:
    """One model."""
    return _describe(await parts.find(name, version))


@router.get("/{name}/card")
@router.get("/{name}/versions/{version}/card")
async def card(parts: UseParts, name: str, version: str | None = None) -> dict[str, Any]:
    """Measured accuracy and cost."""
    return _card(await parts.find(name, version), parts)


@router.get("/{name}/card.html")
@router.get("/{name}/versions/{version}/card.html")
async def card_page(parts: UseParts, name: str, version: str | None = None) -> Response:
    """The card for people: one page without scripts, made of the card's facts."""
    text = page(_card(await parts.find(name, version), parts))
    return Response(text, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@router.get("/{name}/manifest")
@router.get("/{name}/versions/{version}/manifest")
async def manifest(parts: UseParts, name: str, version: str | None = None) -> Response:
    """The circuit's identity, byte for byte."""
    package = await parts.find(name, version)
    return Response(package.manifest.canonical(), media_type="application/json")


@router.get("/{name}/bundle/{file}")
@router.get("/{name}/versions/{version}/bundle/{file}")
async def bundle(parts: UseParts, name: str, file: str, version: str | None = None) -> FileResponse:
    """One file of the verify bundle."""
    package = await parts.find(name, version)
    if file not in package.bundle.files:
        raise Refused("file-unknown", f"The files are {', '.join(package.bundle.files)}.")
    return FileResponse(package.path("verify") / file, media_type="application/octet-stream")


@router.get("/{name}/srs")
@router.get("/{name}/versions/{version}/srs")
async def srs(parts: UseParts, name: str, version: str | None = None) -> FileResponse:
    """The whole SRS file, which a rebuild of the circuit needs; a verifier needs its cut alone, which is in the bundle."""
    package = await parts.find(name, version)
    if package.bundle.provenance == "transparent":
        raise Refused("file-unknown", "This model's proof system has no SRS.")
    return FileResponse(package.path("kzg.srs"), media_type="application/octet-stream")


@router.get("/{name}/policy")
@router.get("/{name}/versions/{version}/policy")
async def policy(parts: UseParts, name: str, version: str | None = None) -> FileResponse:
    """The owner's signed policy."""
    path = (await parts.find(name, version)).path(POLICY_FILE)
    if not path.is_file():
        raise Refused("policy-unpublished")
    return FileResponse(path, media_type="application/json")


def _card(package: Package, parts: Parts) -> dict[str, Any]:
    """The package's card, with its contract's costs if that was built."""
    facts: dict[str, Any] = json.loads(package.path("card.json").read_bytes())
    contract = parts.contracts.known(package.digest)
    return facts if contract is None else on_chain.with_contract(facts, contract)


def _describe(package: Package) -> dict[str, Any]:
    manifest = package.manifest
    transparent = package.bundle.provenance == "transparent"
    modes = [
        *(["none"] if manifest.visibility == "public" else []),
        *([] if transparent else ["zk"]),
        "proof",
    ]
    home = f"/v1/models/{manifest.model.name}/versions/{manifest.model.version}"
    return {
        **manifest.model.to_json(),
        "circuit": package.digest,
        "task": manifest.task,
        "samples": manifest.samples,
        "inputs": manifest.visibility,
        "srs": package.bundle.provenance,
        "proof_system": manifest.proof_system.name,
        "modes": modes,
        "infer": f"/v2/models/{manifest.model.name}/versions/{manifest.model.version}/infer",
        **{part: f"{home}/{part}" for part in ("card", "contract", "manifest", "policy")},
        "bundle": [f"{home}/bundle/{file}" for file in package.bundle.files],
        **({} if transparent else {"srs_file": f"{home}/srs"}),
    }
