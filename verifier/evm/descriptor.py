"""The contract folder: what `verinfer contract build` writes, and what everything else about a contract starts from.

``contract.json`` describes the deployment: which circuit, which code hash, how the instances lie, what a chain must offer.
It lists the other files with their digests; opening checks every one, so a torn or exchanged file never reaches a chain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from .. import files, strict_json
from ..bundle import Bundle
from ..digest import is_hex32, sha256
from ..errors import CouldNotCheck, Malformed, Rejected, UsageError
from ..manifest import Manifest, ModelIdentity, Tensor, parse_manifest
from ..wire import Hex32, Items, Natural, Positive, Text, Wire, validate
from . import solc
from .build import CODE_LIMIT, REUSABLE_CODE_HASH, RUNS, Contract
from .calldata import Layout
from .harden import Form
from .price import Price
from .words import keccak256

CONTRACT_TYPE = "urn:verinfer:contract:v1"
DESCRIPTOR = "contract.json"
FILE_LIMIT = 16 << 20

PRECOMPILES = (2, 5, 6, 7, 8)
"""sha256 (the challenge), modexp, and BN254's addition, multiplication and pairing."""

OWN_RUNS = 200
CONSUMER = "InferenceConsumer"
REGISTRY = "ModelRegistry"
_OWN = {
    "IVerinferVerifier.sol": None,
    "InferenceConsumer.sol": CONSUMER,
    "ModelRegistry.sol": REGISTRY,
    "examples/ClassOnePayout.sol": "ClassOnePayout",
}
"""verinfer's own sources, and the contract of each that is deployed."""
OWN_CONTRACTS = tuple(name for name in _OWN.values() if name is not None)


class Compiler(Wire):
    """What made the bytecode; with the same, anybody gets the same."""

    solc: Text
    evm_version: Text
    verifier_runs: Positive
    other_runs: Positive


class Requires(Wire):
    """What a chain must offer."""

    evm_version: Text
    precompiles: Items[Positive]
    code_limit: Positive


class Descriptor(Wire):
    """``contract.json``."""

    type: Literal["urn:verinfer:contract:v1"]
    circuit: Hex32
    model: ModelIdentity
    proof_system: Text
    srs: Literal["ceremony", "insecure-local"]
    form: Literal["single", "reusable"]
    contract: Text
    code_hash: Hex32
    vka_digest: Hex32 | None = None
    model_pin: Hex32
    proof_bytes: Positive
    layout: Annotated[Items[Tensor], Field(min_length=3)]
    instances: Positive
    inputs: Positive
    outputs: Positive
    output_scale: Natural
    compiler: Compiler
    requires: Requires
    sizes: dict[Text, Natural]
    price: Price
    files: dict[Text, Hex32]


@dataclass(frozen=True, slots=True)
class ContractFolder:
    """An opened contract folder; every file had the recorded digest when it was opened."""

    folder: Path
    descriptor: Descriptor
    manifest: Manifest
    content: Mapping[str, bytes]

    @property
    def vka(self) -> tuple[bytes, ...]:
        """The circuit's words, with a reusable verifier."""
        if self.descriptor.form == "single":
            return ()
        return _vka(self.content)

    def creation(self, name: str) -> bytes:
        """The code that deploys the contract `name`."""
        return _code(self.content, f"{name}.bin")

    def abi(self, name: str) -> list[dict[str, Any]]:
        """The ABI of the contract `name`."""
        found: list[dict[str, Any]] = _json_of(self.content, f"{name}.abi.json")
        return found

    def compiled(self, name: str) -> solc.Compiled:
        """The contract `name` as the compiler gave it."""
        return solc.Compiled(self.abi(name), self.creation(name), _code(self.content, f"{name}.runtime.bin"))


def write_contract(
    out: Path,
    bundle: Bundle,
    manifest: bytes,
    contract: Contract,
    own: Mapping[str, solc.Compiled],
    price: Price,
) -> Descriptor:
    """Write the folder `out`, which must not exist, with verinfer's `own` contracts too; it appears whole or not at all.

    Raises `UsageError` (``exists``, ``outputs-unlike``), `CouldNotCheck` (``disk-full``, ``not-writable``, …).
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or give another --out.")
    content = _content(contract, own, manifest)
    descriptor = describe(bundle, contract, own, price, content)
    with files.folder_aside(out) as aside:
        made = aside / out.name
        for name, data in content.items():
            files.make_folder((made / name).parent)
            files.write_atomically(made / name, data)
        files.write_atomically(made / DESCRIPTOR, descriptor.canonical() + b"\n")
        try:
            made.rename(out)
        except OSError as error:
            raise UsageError("exists", f"{out} exists; remove it, or give another --out.") from error
    return descriptor


def open_contract(folder: Path) -> ContractFolder:
    """Open and check a contract folder, whoever made it.

    Raises `CouldNotCheck` (``file-missing``, ``artifact-torn``), `Malformed`, or `Rejected` (``code-mismatch``) for a reusable
    verifier that is not the hardened one.
    """
    data = files.read(folder / DESCRIPTOR, limit=FILE_LIMIT)
    value = strict_json.parse(data, limit=FILE_LIMIT, what=DESCRIPTOR)
    descriptor = validate(Descriptor, value, code="contract-malformed")
    content: dict[str, bytes] = {}
    for name, digest in descriptor.files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise Malformed("contract-malformed", "contract.json names a file outside its folder.")
        content[name] = files.read(folder / name, limit=FILE_LIMIT)
        if sha256(content[name]) != digest:
            raise CouldNotCheck(
                "artifact-torn", f"{folder / name} is not the file that was built; build it again."
            )
    manifest = parse_manifest(_part(content, "manifest.json"))
    if manifest.digest != descriptor.circuit or manifest.layout != descriptor.layout:
        raise Malformed("contract-malformed", "contract.json is of another circuit than manifest.json.")
    _require_code(descriptor, manifest, content)
    return ContractFolder(folder, descriptor, manifest, content)


def _require_code(descriptor: Descriptor, manifest: Manifest, content: Mapping[str, bytes]) -> None:
    """Raise unless the digests that the descriptor names are of the code and the words in the folder."""
    reusable = descriptor.form == "reusable"
    found = {
        "code_hash": keccak256(_code(content, "Verifier.runtime.bin")).hex(),
        "vka_digest": keccak256(b"".join(_vka(content))).hex() if reusable else None,
    }
    found["model_pin"] = found["vka_digest"] or found["code_hash"]
    for name, digest in found.items():
        if getattr(descriptor, name) != digest:
            raise Malformed("contract-malformed", f"{name} is not that of the files beside it.", field=name)
    if reusable and descriptor.code_hash != REUSABLE_CODE_HASH.get(manifest.ezkl.version):
        raise Rejected("code-mismatch", "The reusable verifier in this folder is not the hardened one.")


def _part(content: Mapping[str, bytes], name: str) -> bytes:
    if name not in content:
        raise Malformed("contract-malformed", f"contract.json does not list {name}.", field="files")
    return content[name]


def _code(content: Mapping[str, bytes], name: str) -> bytes:
    try:
        return bytes.fromhex(_part(content, name).decode("ascii"))
    except ValueError as error:
        raise Malformed("contract-malformed", f"{name} is no bytecode in hex.", field=name) from error


def _vka(content: Mapping[str, bytes]) -> tuple[bytes, ...]:
    words = _json_of(content, "vka.json")
    if not isinstance(words, list) or not all(isinstance(word, str) and is_hex32(word) for word in words):
        raise Malformed("contract-malformed", "vka.json is no list of 32-byte words.", field="vka.json")
    return tuple(map(bytes.fromhex, words))


def _json_of(content: Mapping[str, bytes], name: str) -> Any:
    return strict_json.parse(_part(content, name), limit=FILE_LIMIT, what=name)


def compile_own() -> dict[str, solc.Compiled]:
    """Verinfer's own contracts, by name."""
    names = {file: name for file, name in _OWN.items() if name is not None}
    return solc.compile_sources(own_sources(), names, runs=OWN_RUNS)


def own_sources() -> dict[str, str]:
    """Verinfer's own Solidity, by file name."""
    return {name: (solc.CONTRACTS / name).read_text() for name in _OWN}


def artifact_names(which: Form | Literal["own"]) -> set[str]:
    """The names of a contract folder's files without its description, by form; or what the compiler makes of our own ones."""
    own = {name for contract in OWN_CONTRACTS for name in _names(contract)}
    if which == "own":
        return own
    vka = {"vka.json"} if which == "reusable" else set()
    return {
        "manifest.json",
        "Verifier.sol",
        *_names("Verifier"),
        *own,
        *vka,
        *(f"contracts/{name}" for name in _OWN),
    }


def _names(contract: str) -> tuple[str, str, str]:
    return f"{contract}.abi.json", f"{contract}.bin", f"{contract}.runtime.bin"


def _content(contract: Contract, own: Mapping[str, solc.Compiled], manifest: bytes) -> dict[str, bytes]:
    content = {
        "manifest.json": manifest,
        "Verifier.sol": contract.source.encode(),
        **artifacts("Verifier", contract.compiled),
        **{f"contracts/{name}": text.encode() for name, text in own_sources().items()},
    }
    for name, compiled in own.items():
        content |= artifacts(name, compiled)
    if contract.vka:
        content["vka.json"] = _json([word.hex() for word in contract.vka])
    return content


def artifacts(name: str, compiled: solc.Compiled) -> dict[str, bytes]:
    """The files of a compiled contract, by their names in a contract folder."""
    parts = (_json(compiled.abi), compiled.creation.hex().encode(), compiled.runtime.hex().encode())
    return dict(zip(_names(name), parts, strict=True))


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def describe(
    bundle: Bundle,
    contract: Contract,
    own: Mapping[str, solc.Compiled],
    price: Price,
    content: Mapping[str, bytes],
) -> Descriptor:
    """The description of the folder whose other files are `content`."""
    manifest, layout = bundle.manifest, Layout.of(bundle.manifest)
    sizes = {name: len(compiled.runtime) for name, compiled in {"Verifier": contract.compiled, **own}.items()}
    vka = {} if contract.vka_digest is None else {"vka_digest": contract.vka_digest}
    return validate(
        Descriptor,
        {
            "type": CONTRACT_TYPE,
            "circuit": bundle.circuit,
            "model": manifest.model.to_json(),
            "proof_system": f"{manifest.ezkl.name} {manifest.ezkl.version}",
            "srs": bundle.provenance,
            "form": contract.form,
            "contract": contract.name,
            "code_hash": contract.code_hash,
            **vka,
            "model_pin": contract.model_pin,
            "proof_bytes": manifest.ezkl.proof_bytes,
            "layout": [tensor.to_json() for tensor in manifest.layout],
            "instances": sum(tensor.size for tensor in manifest.layout),
            "inputs": layout.inputs,
            "outputs": layout.outputs,
            "output_scale": layout.output_scale,
            "compiler": {
                "solc": solc.version(),
                "evm_version": solc.EVM_VERSION,
                "verifier_runs": RUNS,
                "other_runs": OWN_RUNS,
            },
            "requires": {
                "evm_version": solc.EVM_VERSION,
                "precompiles": list(PRECOMPILES),
                "code_limit": CODE_LIMIT,
            },
            "sizes": sizes,
            "price": price.to_json(),
            "files": {name: sha256(data) for name, data in content.items()},
        },
        code="contract-malformed",
    )
