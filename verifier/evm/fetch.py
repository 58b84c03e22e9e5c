"""A contract folder from a service, for whoever has no Solidity compiler; nothing of it is believed.

Pinned are the circuit, by the verify bundle that the caller has, and the code of a single verifier, by a hash from somebody
whom the caller trusts. Everything else is made again or compared: the hardened source and the VKA with what EZKL gives here for
the bundle, the reusable verifier's code and verinfer's own contracts with hashes in verinfer, and the description with one that
is written anew. What is left is the table of gas, and the verifier's ABI, which are the service's word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files, strict_json
from ..bundle import Bundle
from ..digest import sha256
from ..errors import CouldNotCheck, Malformed, Rejected, UsageError
from ..wire import validate
from .build import Contract, deploys, source_of, vka_of
from .calldata import Layout
from .descriptor import (
    DESCRIPTOR,
    FILE_LIMIT,
    OWN_CONTRACTS,
    ContractFolder,
    Descriptor,
    artifact_names,
    describe,
    open_contract,
    own_sources,
)
from .harden import Form

if TYPE_CHECKING:
    import httpx

OWN_ARTIFACTS = "cbd4e1fe82620d68fedd96ccdeaf0d284c88eefdebdd18111ebb62d140f1dfcd"
"""The digest of what the compiler makes of verinfer's own contracts (`own_digest`); a test makes it again."""

_BUILD_SECONDS = 900.0
_AGAIN_SECONDS = 2.0


def fetch_contract(
    client: httpx.Client,
    bundle: Bundle,
    manifest: bytes,
    out: Path,
    *,
    form: Form | None = None,
    code_hash: str | None,
    allow_insecure_srs: bool,
    on_step: Callable[[str], None] = lambda _name: None,
) -> Descriptor:
    """Fetch the contract of the bundle's circuit into the new folder `out`; it appears when everything in it was checked.

    `manifest`: the bundle's file. `code_hash`: of a single verifier, in hex; the reusable one's is in verinfer.
    `on_step` hears what is being done, again and again while the service builds.
    Raises `UsageError` (``exists``, ``not-on-chain``, ``usage`` without a hash that is needed), `Rejected` (``code-mismatch``,
    ``insecure-srs``),
    `Malformed` (``answer-malformed``, ``contract-malformed``), and what `client.send` raises.
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or give another --out.")
    Layout.of(bundle.manifest)
    if bundle.insecure_srs and not allow_insecure_srs:
        raise Rejected(
            "insecure-srs",
            "The circuit has an insecure local SRS: whoever made it can forge proofs. For a trial give --allow-insecure-srs.",
        )
    on_step("fetching")
    content = _receive(client, bundle, form, on_step)
    on_step("comparing")
    if content["manifest.json"] != manifest:
        raise Rejected("circuit-not-pinned", "The service's contract is of another circuit than the bundle.")
    out = out.absolute()
    with files.folder_aside(out) as aside:
        made = aside / "made"
        for name, data in content.items():
            files.make_folder((made / name).parent)
            files.write_atomically(made / name, data)
        _require_expected(open_contract(made), bundle, code_hash)
        files.publish_folder(made, out)
    return open_contract(out).descriptor


def own_digest(content: Mapping[str, bytes]) -> str:
    """The digest of the files that the compiler makes of verinfer's own contracts, in a folder's `content`."""
    return sha256(strict_json.canonical({name: sha256(content[name]) for name in artifact_names("own")}))


def _until_built(
    client: httpx.Client, path: str, asked: Mapping[str, str], deadline: float, on_step: Callable[[str], None]
) -> bytes:
    """The description, as often as it takes; raises what `send` raises."""
    from ..client import ServiceError, send

    while True:
        try:
            return send(client, "GET", path, deadline, params=asked)
        except ServiceError as error:
            if error.service_code != "contract-building":
                raise
            if time.monotonic() > deadline:
                raise CouldNotCheck("service-too-slow", "The service did not build the contract.") from error
        on_step("building")
        time.sleep(_AGAIN_SECONDS)


def _receive(
    client: httpx.Client, bundle: Bundle, form: Form | None, on_step: Callable[[str], None]
) -> dict[str, bytes]:
    """The files of the folder, exactly those that there may be, with the digests that the description names."""
    from ..client import send

    model, deadline = bundle.manifest.model, time.monotonic() + _BUILD_SECONDS
    home = f"/v1/models/{model.name}/versions/{model.version}/contract"
    asked = {} if form is None else {"form": form}
    data = _until_built(client, home, asked, deadline, on_step)
    described = validate(
        Descriptor, strict_json.parse(data, limit=FILE_LIMIT, what=DESCRIPTOR), code="contract-malformed"
    )
    if form not in (None, described.form):
        raise Malformed(
            "contract-malformed", f"The service gave a {described.form} verifier instead of a {form} one."
        )
    if set(described.files) != artifact_names(described.form):
        raise Malformed("contract-malformed", "The service's contract has other files than contracts have.")
    content = {
        name: send(client, "GET", f"{home}/{name}", deadline, params=asked)
        for name in sorted(described.files)
    }
    return {DESCRIPTOR: data, **content}


def _require_expected(folder: ContractFolder, bundle: Bundle, code_hash: str | None) -> None:
    """Raise unless the folder is what a build of the bundle gives, as far as that is known without a compiler."""
    found, content = folder.descriptor, folder.content
    if found.form == "single" and code_hash is None:
        raise UsageError(
            "usage",
            f"The service gives a single verifier with the code hash {found.code_hash}. Only a compiler shows that this is the "
            "circuit's: get the hash from somebody you trust and give it with --code-hash, take --form reusable, whose code "
            "verinfer knows, or use 'verinfer contract build'.",
        )
    if code_hash is not None and found.code_hash != code_hash:
        raise Rejected("code-mismatch", f"The service's verifier has the code hash {found.code_hash}.")
    if not deploys(folder.creation("Verifier"), folder.compiled("Verifier").runtime):
        raise Rejected("code-mismatch", "Verifier.bin does something else than to deploy the verifier.")
    sources = {f"contracts/{name}": text.encode() for name, text in own_sources().items()}
    if own_digest(content) != OWN_ARTIFACTS or any(content[name] != text for name, text in sources.items()):
        raise Rejected(
            "code-mismatch",
            "The consumer or the registry is not this verinfer's; is the service's another version?",
        )
    source = source_of(bundle, found.form)
    if content["Verifier.sol"] != source.encode():
        raise Rejected("code-mismatch", "The verifier's Solidity is not the one of this circuit, hardened.")
    if folder.vka != (vka_of(bundle) if found.form == "reusable" else ()):
        raise Rejected("code-mismatch", "vka.json is not the circuit's.")
    contract = Contract(found.form, source, folder.compiled("Verifier"), folder.vka)
    files_of = {name: data for name, data in content.items() if name != DESCRIPTOR}
    own = {name: folder.compiled(name) for name in OWN_CONTRACTS}
    if describe(bundle, contract, own, found.price, files_of) != found:
        raise Rejected("code-mismatch", "The description says something else than its files and the circuit.")
