"""All that ``verinfer contract build`` does, in its order: from a verify bundle to a contract folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..bundle import open_bundle
from ..digest import sha256
from ..errors import Rejected
from .build import build_contract
from .calldata import Layout
from .descriptor import CONSUMER, Descriptor, compile_own, write_contract
from .harden import Form
from .price import measure


def make_contract(
    content: Mapping[str, bytes],
    out: Path,
    *,
    form: Form | None = None,
    allow_insecure_srs: bool,
    on_step: Callable[[str], None] = lambda _name: None,
) -> Descriptor:
    """Make the folder `out` of the bundle whose files are `content`; `on_step` hears what is being done.

    Raises `UsageError` (``exists``, ``not-on-chain``, ``inputs-hidden``, ``outputs-unlike``, ``contract-too-large``), `Rejected`
    (``insecure-srs``), `CouldNotCheck` (``node-missing``, ``solc-missing``, ``contract-differs``, …) or `ChildFailed`.
    """
    bundle = open_bundle(content, sha256(content["manifest.json"]))
    Layout.of(bundle.manifest)
    if bundle.insecure_srs and not allow_insecure_srs:
        raise Rejected(
            "insecure-srs",
            "The circuit has an insecure local SRS: whoever made it can forge proofs, and would be paid for them. "
            "For a trial give --allow-insecure-srs.",
        )
    on_step("verifier")
    contract = build_contract(bundle, form=form)
    on_step("consumer")
    own = compile_own()
    on_step("price")
    price = measure(contract, bundle.manifest, own[CONSUMER])
    return write_contract(out, bundle, content["manifest.json"], contract, own, price)
