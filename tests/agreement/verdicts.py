"""What the verifiers say about a case: verinfer's, EZKL's own behind it, and both forms of the contract.

All are the real ones: `EzklCheck` as receipts are checked with, on a child that lives on; the hardened contracts in an EVM.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from verinfer.verifier import files
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.child import Child, ChildFailed
from verinfer.verifier.errors import Rejected
from verinfer.verifier.evidence import Proof
from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.ezkl_proof import VERIFY_LIMITS, EzklCheck, circuit_files

from ..unit.verifier.evm.chain import Chain, Reverted
from .pairs import statement_of
from .questions import Case, Honest

_RENEWED_AFTER = 500
_LIMITS = VERIFY_LIMITS._replace(cpu_seconds=_RENEWED_AFTER)
_SECONDS = 60


class _Worker(Child):
    """A child whose one call is one of many."""

    def call(self, function: str, arguments: Mapping[str, Any], **_: Any) -> Any:
        return self.ask(function, arguments, seconds=_SECONDS)


class WarmChildren:
    """Gives the same child again and again, and another one after some hundred calls or when it has died."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._worker: tuple[Child, Path] | None = None
        self._calls = 0

    @contextmanager
    def child(self) -> Iterator[tuple[Child, Path]]:
        """The child and its directory."""
        if self._worker is None or self._calls == _RENEWED_AFTER or not self._worker[0].lives:
            self.close()
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="verinfer-agree-")))
            worker = _Worker("verinfer.verifier._ezkl", limits=_LIMITS, directory=directory, enclosed=True)
            self._stack.callback(worker.close)
            self._worker, self._calls = (worker, directory), 0
        self._calls += 1
        yield self._worker

    def close(self) -> None:
        """End it."""
        self._worker = None
        self._stack.close()


class Verifiers:
    """All verifiers of some circuits, ready to be asked; close it when done."""

    def __init__(
        self,
        bundles: Mapping[str, Bundle],
        contracts: Mapping[str, Mapping[Form, Contract]],
        pairs: Sequence[Honest],
    ) -> None:
        self._bundles, self._contracts, self._pairs = bundles, contracts, pairs
        self._children = WarmChildren()
        self._check = EzklCheck(self._children)
        self._chain = Chain()
        self._where: dict[tuple[str, Form], str] = {}
        for circuit, forms in contracts.items():
            for form, contract in forms.items():
                self._where[circuit, form] = self._chain.deploy(contract.compiled.creation)
                if contract.vka:
                    self._chain.call(self._where[circuit, form], calldata.register(contract.vka))

    def close(self) -> None:
        """End the child."""
        self._children.close()

    def verdicts(self, case: Case) -> dict[str, bool]:
        """Who accepts the case: ``python``, ``ezkl`` and each form that there is of the circuit's contract."""
        circuit = case.base.circuit
        known = [case.base, *(pair for pair in self._pairs if pair.circuit == circuit)]
        bundle, statement = self._bundles[circuit], statement_of(case.instances, known)
        asked = statement is not None and len(case.proof) == bundle.manifest.ezkl.proof_bytes
        python = False
        if statement is not None:
            try:
                self._check.check(statement, bundle, Proof.of(case.proof))
                python = True
            except (Rejected, ValidationError):
                # The latter: no receipt holds an empty proof.
                python = False
        given = OnChainProof(case.proof, case.instances, "00" * 32)
        return {
            "python": python,
            # Where verinfer asked EZKL about exactly this, the answer is known.
            "ezkl": python if asked else self._bare(bundle, case),
            **{
                form: self._on_chain(self._where[circuit, form], calldata.verify(given, contract.vka))
                for form, contract in self._contracts[circuit].items()
            },
        }

    def _on_chain(self, address: str, data: bytes) -> bool:
        try:
            output = self._chain.call(address, data).output
        except Reverted:
            return False
        return int.from_bytes(output[:32], "big") == 1

    def _bare(self, bundle: Bundle, case: Case) -> bool:
        """EZKL's verdict on files as an adversary would write them, without any rule of verinfer's."""
        proof = {
            "protocol": None,
            "instances": [[value.to_bytes(32, "little").hex() for value in case.instances]],
            "proof": list(case.proof),
            "hex_proof": "0x" + case.proof.hex(),
            "split": None,
            "pretty_public_inputs": None,
            "timestamp": None,
            "version": None,
        }
        content = {"proof": json.dumps(proof).encode(), **circuit_files(bundle)}
        with self._children.child() as (child, directory):
            for name, data in content.items():
                files.write_scratch(directory / name, data)
            paths = {name: str(directory / name) for name in content}
            version = bundle.manifest.ezkl.version
            try:
                return child.call("verify", {**paths, "version": version}) is True
            except ChildFailed as failure:
                if failure.code not in ("child-refused", "child-panicked"):
                    raise
                return False
