"""Answers that need no proof: compute in fp32, state, sign, store, and only then answer."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from verinfer.circuits.package import Package
from verinfer.verifier import dsse
from verinfer.verifier.digest import sha256
from verinfer.verifier.receipt import encode_receipt
from verinfer.verifier.statement import PAYLOAD_TYPE

from . import statements
from .fp32 import Values, Workers
from .idempotency import Key, Known
from .parts import Resources
from .receipt_store import StoredReceipt


async def answer(
    resources: Resources,
    workers: Workers,
    package: Package,
    inputs: Values,
    *,
    nonce: str | None,
    audience: str | None,
    key: Key | None,
) -> StoredReceipt:
    """A stored, signed receipt; without a client's nonce it has a random one, which shows no freshness.

    Raises what `Workers.infer` and `ReceiptStore.add` raise.
    """
    known = await run_in_threadpool(resources.receipts.recall, key)
    if known is None:
        outputs = await workers.infer(package, inputs)
        circumstances = statements.Answer(
            issuer=resources.issuer,
            nonce=nonce or secrets.token_hex(32),
            audience=audience,
            mode="none",
            issued_at=datetime.now(UTC),
        )
        statement = statements.of_onnxruntime(
            circumstances, package.manifest, outputs.runtime, inputs, outputs.values
        )
        known = await run_in_threadpool(_sign, resources, statement, key)
    assert known.receipt is not None
    return await run_in_threadpool(resources.receipts.get, known.receipt)


def _sign(resources: Resources, statement: bytes, key: Key | None) -> Known:
    receipt = encode_receipt(dsse.sign(statement, PAYLOAD_TYPE, resources.key), {})
    return resources.receipts.add(sha256(statement), receipt, now=time.time(), key=key)
