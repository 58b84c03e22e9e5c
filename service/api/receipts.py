"""``/v1/receipts``: a receipt's bytes, and beside them the state of its proof, which belongs to no receipt."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from verinfer.verifier.receipt import MEDIA_TYPE

from ..parts import UseParts

router = APIRouter(prefix="/v1/receipts")

PROOF_STATE = "Verinfer-Proof-State"


@router.get("/{digest}")
def receipt(parts: UseParts, digest: str) -> Response:
    """The receipt with all its evidence."""
    stored = parts.resources.receipts.get(digest)
    return Response(stored.body, media_type=MEDIA_TYPE, headers={PROOF_STATE: stored.proof})


@router.get("/{digest}/state")
def state(parts: UseParts, digest: str) -> dict[str, str]:
    """The proof's state: ``none`` (not asked for) or ``ready``."""
    stored = parts.resources.receipts.get(digest)
    return {"digest": stored.digest, "proof": stored.proof}
