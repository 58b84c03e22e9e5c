"""What was deployed of a contract folder, on each chain: ``deployments/<chain id>.json`` in the folder.

It says where things are, nothing else: whoever uses an address checks what lies there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .. import files, strict_json
from ..errors import Rejected, UsageError
from ..wire import Positive, Wire, validate
from . import chain
from .calldata import Layout
from .chain import Node
from .descriptor import ContractFolder
from .opened import Address
from .words import keccak256, selector

_LIMIT = 1 << 16


class Deployment(Wire):
    """Addresses on one chain."""

    type: Literal["urn:verinfer:deployment:v1"]
    chain_id: Positive
    verifier: Address
    consumer: Address | None = None


def write_deployment(contract: ContractFolder, deployment: Deployment) -> None:
    """Remember where things are; raises `CouldNotCheck` (``not-writable``, …)."""
    path = _path(contract.folder, deployment.chain_id)
    files.make_folder(path.parent)
    files.write_atomically(path, deployment.canonical() + b"\n")


def read_deployment(contract: ContractFolder, chain_id: int) -> Deployment | None:
    """What is remembered of a chain, None where nothing is; raises `Malformed`."""
    path = _path(contract.folder, chain_id)
    if not path.exists():
        return None
    value = strict_json.parse(files.read(path, limit=_LIMIT), limit=_LIMIT, what="deployment")
    return validate(Deployment, value, code="contract-malformed")


def find_verifier(contract: ContractFolder, node: Node, given: str | None) -> str:
    """The verifier's address, given or remembered, once its code is the built contract's.

    Raises `UsageError` (``not-deployed``), `Rejected` (``code-mismatch``) or what a node's failure raises.
    """
    where = chain.address(given) if given else _read(contract, node).verifier
    found = keccak256(chain.code_at(node, where)).hex()
    if found != contract.descriptor.code_hash:
        raise Rejected(
            "code-mismatch", f"The code at {where} is not the hardened verifier: its hash is {found}."
        )
    return where


def find_consumer(contract: ContractFolder, node: Node, given: str | None) -> str:
    """The consumer's address, given or remembered, once it says that it takes answers of this model as the built one does.

    One of the same code may have been deployed with another verifier for the same VKA, or another layout, and take anything.
    Raises as `find_verifier` does.
    """
    where = chain.address(given) if given else _read(contract, node).consumer
    if where is None:
        raise UsageError(
            "not-deployed", "No consumer was deployed here; run 'verinfer contract deploy --consumer'."
        )
    if not chain.code_at(node, where):
        raise Rejected("code-mismatch", f"There is no contract at {where}.")
    for name, expected in _pins(contract).items():
        found = chain.call(node, where, selector(f"{name}()"))[:32].hex()
        if found != expected:
            raise Rejected(
                "code-mismatch",
                f"The consumer at {where} takes other answers than the built one: its {name} is {found}.",
                field=name,
            )
    return where


def find_registry(contract: ContractFolder, node: Node, given: str) -> str:
    """The address of a registry, once it says something of the model: a consumer that follows nothing opens no request.

    Raises `Rejected` (``code-mismatch``, ``chain-reverted``) or what a node's failure raises.
    """
    where = chain.address(given)
    asked = selector("statusOf(bytes32)") + bytes.fromhex(contract.descriptor.model_pin)
    if len(chain.call(node, where, asked)) != 32:
        raise Rejected("code-mismatch", f"There is no registry at {where}.")
    return where


def _pins(contract: ContractFolder) -> dict[str, str]:
    """What the consumer of a folder is deployed with, as words in hex, by their names in the Solidity."""
    descriptor, layout = contract.descriptor, Layout.of(contract.manifest)
    counts = {
        "inputs": layout.inputs,
        "outputs": layout.outputs,
        "proofBytes": layout.proof_bytes,
        "outputScale": layout.output_scale,
    }
    return {
        "modelPin": descriptor.model_pin,
        "codeHash": descriptor.code_hash,
        "vkaDigest": descriptor.vka_digest or "00" * 32,
        **{name: f"{count:064x}" for name, count in counts.items()},
    }


def _read(contract: ContractFolder, node: Node) -> Deployment:
    found = read_deployment(contract, node.chain_id)
    if found is None:
        raise UsageError(
            "not-deployed",
            f"Nothing of {contract.folder} was deployed on chain {node.chain_id}; run 'verinfer contract deploy', "
            "or give the address.",
        )
    return found


def _path(folder: Path, chain_id: int) -> Path:
    return folder / "deployments" / f"{chain_id}.json"
