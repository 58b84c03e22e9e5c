"""The suite ``contract``: what a circuit's proofs cost on chain, with real proofs, in an EVM in this process.

For each model and both forms of its verifier, whether a chain would take it or not: deploy it, register the circuit, verify a
proof, deploy a consumer, open a request, and settle it with a proof for that request's nonce.
Gas is that of Prague, EIP-7623's floor included; Osaka's adds what EIP-7883 does to a proof, which a test compares with a node.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_abi.abi import decode
from pyrevm import EVM, BlockEnv, CfgEnv, Env

from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.provers import prover_for
from verinfer.verifier.digest import challenge_bytes, to_limbs
from verinfer.verifier.evidence import Proof
from verinfer.verifier.evm import calldata, price
from verinfer.verifier.evm.build import CODE_LIMIT, Contract, compile_verifier
from verinfer.verifier.evm.calldata import Layout, OnChainProof
from verinfer.verifier.evm.descriptor import CONSUMER, compile_own
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.evm.price import OSAKA_MORE, Price
from verinfer.verifier.evm.request import input_hash, quantised
from verinfer.verifier.evm.solc import Compiled
from verinfer.verifier.evm.words import elements
from verinfer.verifier.instances import build_instances
from verinfer.verifier.samples import read_sample

ZOO = Path(__file__).parents[2] / "models" / "zoo"
MODELS = ("bmi", "breast_cancer", "digits", "lenet")
FORMS: tuple[Form, ...] = ("single", "reusable")

_CALLER = "0x" + "a1" * 20
_NOW = 1_800_000_000
_DEADLINE = _NOW + 3600
_GAS = 2**31
_STATEMENT = hashlib.sha256(b"a statement").hexdigest()

Say = Callable[[str], None]
Values = Mapping[str, Sequence[int]]


def run(
    models: Sequence[str], where: Mapping[str, str], say: Say, earlier: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measure these models; gives the cases of the results file after each, with the `earlier` ones, in the suite's order."""
    own = compile_own()
    cases = dict(earlier)
    for name in models:
        with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
            say(f"{name}: compiling")
            package = compile_model(
                ZOO / name,
                Path(directory) / "package",
                srs=None,
                insecure_srs=True,
                on_progress=lambda _phase, _share: None,
            )
            sample = read_sample(ZOO / name / "sample.json", package.manifest.inputs)
            cases[name] = {**where, **measure(package, sample, own, say)}
        yield {each: cases[each] for each in MODELS if each in cases}


def measure(package: Package, sample: Any, own: Mapping[str, Compiled], say: Say) -> dict[str, Any]:
    """The case of one package: its layout, and what both forms of its verifier are and cost."""
    manifest, layout = package.manifest, Layout.of(package.manifest)
    values = quantised(manifest, sample)
    forms = {}
    for form in FORMS:
        say(f"{manifest.model.name}: {form} verifier")
        contract = compile_verifier(package.bundle, form)
        size = len(contract.compiled.runtime)
        forms[form] = {
            "runtime_bytes": size,
            "fits": size <= CODE_LIMIT,
            "code_hash": contract.code_hash,
            **_used(package, contract, own[CONSUMER], values),
            "foreseen": price.measure(contract, manifest, own[CONSUMER]).to_json(),
        }
    return {
        "circuit": package.digest,
        "logrows": manifest.ezkl.run_args.logrows,
        "inputs": layout.inputs,
        "outputs": layout.outputs,
        "instances": layout.inputs + 16 + layout.outputs,
        "proof_bytes": layout.proof_bytes,
        "forms": forms,
    }


def _used(package: Package, contract: Contract, consumer: Compiled, values: Values) -> dict[str, Any]:
    """Gas and calldata, with a proof that is valid and settles a request."""
    chain, layout = _Chain(), Layout.of(package.manifest)
    verifies, deploy = chain.deploy(contract.compiled.creation)
    register = {}
    if contract.vka:
        register["register_vka"] = chain.call(verifies, calldata.register(contract.vka))[1]
    digest = None if contract.vka_digest is None else bytes.fromhex(contract.vka_digest)
    model = calldata.constructor(verifies, bytes.fromhex(contract.code_hash), digest, layout, None)
    settles, consumer_gas = chain.deploy(consumer.creation + model)
    hashed = bytes.fromhex(input_hash(package.manifest, values))
    _, request = chain.call(settles, calldata.request(hashed, _DEADLINE))
    nonce = chain.call(settles, calldata.nonce_of(1))[0].hex()
    given = _prove(package, values, nonce)
    verify_data, settle_data = calldata.verify(given, contract.vka), calldata.settle(1, given, contract.vka)
    output, verify = chain.call(verifies, verify_data)
    assert int.from_bytes(output[:32], "big") == 1
    _, settle = chain.call(settles, settle_data)
    (answer,) = decode(["int64[]"], chain.call(settles, calldata.answer_of(1))[0])
    assert elements(answer) == given.instances[-layout.outputs :]
    gas = Price.model_validate(
        {
            "deploy": deploy,
            **register,
            "verify": verify,
            "verify_osaka": verify + OSAKA_MORE,
            "verify_bytes": len(verify_data),
            "consumer": consumer_gas,
            "request": request,
            "settle": settle,
            "settle_osaka": settle + OSAKA_MORE,
        }
    )
    return {"price": gas.to_json(), "settle_bytes": len(settle_data)}


def _prove(package: Package, values: Values, nonce: str) -> OnChainProof:
    """A real proof for the nonce."""
    prover, challenge = prover_for(package.manifest), challenge_bytes(nonce, _STATEMENT)
    with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
        place = Workplace(directory=Path(directory), limits=heavy_limits())
        witness = prover.forward(package, values, place)
        evidence = prover.prove(package, witness, challenge, place, lambda _phase, _share: None)
    assert isinstance(evidence, Proof)
    vector = build_instances(package.manifest.layout, {**values, **witness.outputs}, to_limbs(challenge))
    return OnChainProof(evidence.data, elements(vector), _STATEMENT)


class _Chain:
    """An EVM that takes code of any size; each call is a transaction, and one that reverts raises RuntimeError."""

    def __init__(self) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 20)))
        self._evm.set_block_env(BlockEnv(timestamp=_NOW))
        self._evm.set_balance(_CALLER, 10**20)

    def deploy(self, code: bytes) -> tuple[str, int]:
        """The new contract's address, and the gas."""
        return self._evm.deploy(_CALLER, code, gas=_GAS), self._gas(code)

    def call(self, to: str, data: bytes) -> tuple[bytes, int]:
        """What the call gives, and the gas."""
        output = bytes(self._evm.message_call(_CALLER, to, calldata=data, gas=_GAS))
        return output, self._gas(data)

    def _gas(self, data: bytes) -> int:
        assert self._evm.result is not None
        return max(int(self._evm.result.gas_used), price.floor(data))
