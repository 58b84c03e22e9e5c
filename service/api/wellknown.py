"""``/.well-known/verinfer.json``: the service's keys and what it speaks. A client pins keys from a policy, not from here."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any

from fastapi import APIRouter

from verinfer.verifier import keys
from verinfer.verifier.receipt import MEDIA_TYPE
from verinfer.verifier.statement import PREDICATE_TYPE

from ..parts import UseParts

router = APIRouter()


@router.get("/.well-known/verinfer.json")
async def wellknown(parts: UseParts) -> dict[str, Any]:
    """Keys and versions."""
    public, settings = parts.resources.key.public_key(), parts.resources.settings
    return {
        "service": "verinfer",
        "version": installed("verinfer"),
        "keys": [{"id": keys.key_id(public), "algorithm": "Ed25519", "key": keys.encode_public(public)}],
        "statement": PREDICATE_TYPE,
        "receipt": MEDIA_TYPE,
        "modes": ["none", "zk", "proof"],
        "most_upload_bytes": settings.upload_bytes if settings.allow_uploads else 0,
    }
