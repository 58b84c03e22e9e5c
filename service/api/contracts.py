"""``/v1/models/{name}/contract``: what ``verinfer contract build`` makes of the circuit, for whoever has no compiler.

Nobody has to believe it: the code hash or the VKA digest is pinned from elsewhere, or the contract is built again.
"""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter
from fastapi.responses import Response

from verinfer.verifier.evm.harden import Form

from ..contracts import DESCRIPTOR, Content
from ..errors import Refused
from ..parts import Parts, UseParts

router = APIRouter(prefix="/v1/models")


@router.get("/{name}/contract")
@router.get("/{name}/versions/{version}/contract")
async def contract(
    parts: UseParts, name: str, version: str | None = None, form: str | None = None
) -> Response:
    """The deployment's description, which lists the other files with their digests; the first question builds them."""
    content = await _content(parts, name, version, form)
    return Response(content[DESCRIPTOR], media_type="application/json")


@router.get("/{name}/contract/{file:path}")
@router.get("/{name}/versions/{version}/contract/{file:path}")
async def contract_file(
    parts: UseParts, name: str, file: str, version: str | None = None, form: str | None = None
) -> Response:
    """One of the files."""
    content = await _content(parts, name, version, form)
    if file not in content:
        raise Refused("file-unknown", "The contract has no file of that name; contract.json lists all.")
    return Response(content[file], media_type="application/octet-stream")


async def _content(parts: Parts, name: str, version: str | None, form: str | None) -> Content:
    package = await parts.find(name, version)
    for known in get_args(Form):
        if form == known:
            return await parts.contracts.get(package, known)
    if form is not None:
        raise Refused("request-malformed", f"The forms are {', '.join(get_args(Form))}.", field="form")
    return await parts.contracts.get(package)
