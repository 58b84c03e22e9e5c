"""The verifier contracts: what they accept, what they refuse, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verinfer.verifier.bundle import Bundle
from verinfer.verifier.errors import CouldNotCheck, UsageError
from verinfer.verifier.evm import build, calldata, price, solc
from verinfer.verifier.evm.build import CODE_LIMIT, REUSABLE_CODE_HASH, Contract, build_contract
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.instances import BN254_SCALAR_FIELD

from .chain import ALICE, Chain, Reverted, relocated, with_instances_moved
from .test_harden import FORMS, unhardened


@pytest.fixture(scope="module")
def chain() -> Chain:
    """One chain for all; a test deploys what it needs."""
    return Chain()


@pytest.fixture(scope="module")
def raw(verifiers: dict[Form, Contract]) -> dict[str, solc.Compiled]:
    """Both forms as EZKL writes them, by the contract's name."""
    sources = {f"{form}.sol": unhardened(contract) for form, contract in verifiers.items()}
    names = {f"{form}.sol": contract.name for form, contract in verifiers.items()}
    return solc.compile_sources(sources, names, runs=build.RUNS)


def _accepts(chain: Chain, address: str, given: OnChainProof, contract: Contract) -> bool:
    try:
        chain.call(address, calldata.verify(given, contract.vka))
    except Reverted:
        return False
    return True


def _deployed(chain: Chain, contract: Contract, creation: bytes | None = None) -> str:
    address = chain.deploy(creation or contract.compiled.creation)
    if contract.vka:
        chain.call(address, calldata.register(contract.vka))
    return address


@pytest.mark.parametrize("form", FORMS)
def test_an_honest_proof_is_accepted(
    chain: Chain, verifiers: dict[Form, Contract], honest: dict[str, OnChainProof], form: Form
) -> None:
    """A committed receipt's proof, in calldata that we encoded, is valid on chain; the reusable verifier names the circuit."""
    contract = verifiers[form]
    output = chain.call(_deployed(chain, contract), calldata.verify(honest["bmi"], contract.vka)).output
    assert int.from_bytes(output[:32], "big") == 1
    if contract.vka:
        assert output[32:64].hex() == contract.vka_digest


@pytest.mark.parametrize("form", FORMS)
def test_what_deploys_a_verifier_does_nothing_else(verifiers: dict[Form, Contract], form: Form) -> None:
    """Without a compiler it is known what the compiler puts before the code; anything else, or other code, is refused."""
    creation, runtime = verifiers[form].compiled.creation, verifiers[form].compiled.runtime
    assert build.deploys(creation, runtime)
    for other in (
        b"",
        runtime,
        creation + b"\0",
        b"\x5b" + creation,
        creation[:-1],
        creation[:28] + creation,
    ):
        assert not build.deploys(other, runtime)
    for other in (b"", creation, runtime[1:], runtime + b"\0", bytes(1 << 16)):
        assert not build.deploys(creation, other)


@pytest.mark.parametrize("form", FORMS)
def test_a_relocated_proof_is_refused(
    chain: Chain,
    verifiers: dict[Form, Contract],
    raw: dict[str, solc.Compiled],
    honest: dict[str, OnChainProof],
    form: Form,
) -> None:
    """An honest proof at another place of the calldata: EZKL's own contract accepts it, ours reverts (see `harden`)."""
    contract = verifiers[form]
    moved = relocated(honest["bmi"], contract.vka)
    accepted = chain.call(_deployed(chain, contract, raw[contract.name].creation), moved).output
    assert int.from_bytes(accepted[:32], "big") == 1
    with pytest.raises(Reverted):
        chain.call(_deployed(chain, contract), moved)


@pytest.mark.parametrize("form", FORMS)
def test_the_instances_are_read_where_the_offset_points(
    chain: Chain, verifiers: dict[Form, Contract], honest: dict[str, OnChainProof], form: Form
) -> None:
    """Honest instances at the place where they belong do not help others that the calldata's offset names."""
    contract, given = verifiers[form], honest["bmi"]
    address = _deployed(chain, contract)
    for named in (
        (given.instances[0] + 1, *given.instances[1:]),
        (*given.instances[:-1], given.instances[-1] + 1),
        given.instances[:-1],
        (),
    ):
        with pytest.raises(Reverted):
            chain.call(address, with_instances_moved(given, contract.vka, named))


@pytest.mark.parametrize("form", FORMS)
def test_lies_are_refused(
    chain: Chain, verifiers: dict[Form, Contract], honest: dict[str, OnChainProof], form: Form
) -> None:
    """No instance may change, alias, go or come; no word of the proof may change, alias or go; another model's proof is none."""
    contract, given = verifiers[form], honest["bmi"]
    address = _deployed(chain, contract)
    first, *rest = given.instances
    words = [given.proof[start : start + 32] for start in range(0, len(given.proof), 32)]
    scalar = len(words) - 5  # the last before the two points at the end
    aliased = (int.from_bytes(words[scalar], "big") + BN254_SCALAR_FIELD).to_bytes(32, "big")
    lies = {
        "instance + 1": replace(given, instances=(first + 1, *rest)),
        "instance + r": replace(given, instances=(first + BN254_SCALAR_FIELD, *rest)),
        "output + 1": replace(given, instances=(*given.instances[:-1], given.instances[-1] + 1)),
        "an instance less": replace(given, instances=given.instances[:-1]),
        "an instance more": replace(given, instances=(*given.instances, 0)),
        "a word of the proof + r": replace(
            given, proof=b"".join([*words[:scalar], aliased, *words[scalar + 1 :]])
        ),
        "a bit of a point": replace(given, proof=bytes([given.proof[0] ^ 1]) + given.proof[1:]),
        "a bit of a number": replace(
            given, proof=b"".join([*words[:scalar], _flipped(words[scalar]), *words[scalar + 1 :]])
        ),
        "truncated by a word": replace(given, proof=given.proof[:-32]),
        "truncated by a byte": replace(given, proof=given.proof[:-1]),
        "empty": replace(given, proof=b""),
        "another model's": honest["breast_cancer"],
    }
    accepted = [what for what, lie in lies.items() if _accepts(chain, address, lie, contract)]
    assert not accepted
    chain.call(address, calldata.verify(given, contract.vka))


def test_the_single_verifier_refuses_a_longer_proof(
    chain: Chain, verifiers: dict[Form, Contract], honest: dict[str, OnChainProof]
) -> None:
    """It knows how long its circuit's proofs are; the reusable one does not, so there the consumer compares the length."""
    longer = replace(honest["bmi"], proof=honest["bmi"].proof + bytes(32))
    with pytest.raises(Reverted):
        chain.call(_deployed(chain, verifiers["single"]), calldata.verify(longer, ()))


def test_the_reusable_verifier_wants_a_registered_vka(
    chain: Chain, verifiers: dict[Form, Contract], honest: dict[str, OnChainProof]
) -> None:
    """Without registration nothing verifies; anybody may register, and what counts is the digest that comes back."""
    contract = verifiers["reusable"]
    address = chain.deploy(contract.compiled.creation)
    data = calldata.verify(honest["bmi"], contract.vka)
    with pytest.raises(Reverted):
        chain.call(address, data)
    answer = chain.call(address, calldata.register(contract.vka), sender="0x" + "05" * 20)
    assert answer.output.hex() == contract.vka_digest
    chain.call(address, data)


def test_the_reusable_verifier_is_the_same_for_every_circuit(
    bundles: dict[str, Bundle], verifiers: dict[Form, Contract]
) -> None:
    """EZKL writes the same source for another circuit, and what is compiled of it has the pinned code hash; the words differ."""
    other = bundles["breast_cancer"]
    assert build.source_of(other, "reusable") == verifiers["reusable"].source
    assert verifiers["reusable"].code_hash == REUSABLE_CODE_HASH[other.manifest.ezkl.version]
    assert build.vka_of(other) != verifiers["reusable"].vka


def test_another_reusable_verifier_is_not_taken(
    bundles: dict[str, Bundle], verifiers: dict[Form, Contract], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If EZKL or the compiler gave other code than the one that was looked at, there is no contract."""
    other = replace(verifiers["reusable"].compiled, runtime=verifiers["reusable"].compiled.runtime + b"\0")
    monkeypatch.setattr(
        build, "compile_verifier", lambda _bundle, _form: replace(verifiers["reusable"], compiled=other)
    )
    with pytest.raises(CouldNotCheck) as caught:
        build_contract(bundles["bmi"], form="reusable")
    assert caught.value.code == "contract-differs"


def test_the_form_follows_the_size(
    bundles: dict[str, Bundle], verifiers: dict[Form, Contract], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single verifier that a chain would take is taken; one that is too large is refused, or replaced by the reusable one."""
    monkeypatch.setattr(build, "compile_verifier", lambda _bundle, form: verifiers[form])
    assert len(verifiers["single"].compiled.runtime) > CODE_LIMIT
    assert build_contract(bundles["bmi"]).form == "reusable"
    with pytest.raises(UsageError) as caught:
        build_contract(bundles["bmi"], form="single")
    assert caught.value.code == "contract-too-large"
    monkeypatch.setattr(build, "CODE_LIMIT", len(verifiers["single"].compiled.runtime))
    assert build_contract(bundles["bmi"]).form == "single"


@pytest.mark.parametrize("form", FORMS)
def test_prices_are_those_of_a_real_proof(
    bundles: dict[str, Bundle],
    verifiers: dict[Form, Contract],
    honest: dict[str, OnChainProof],
    own: dict[str, solc.Compiled],
    form: Form,
) -> None:
    """Gas that was measured without a proof is within 1 % of what a real one uses; bytes are exact."""
    contract, chain = verifiers[form], Chain()
    found = price.measure(contract, bundles["bmi"].manifest, own["InferenceConsumer"])
    data = calldata.verify(honest["bmi"], contract.vka)
    address = chain.deploy(contract.compiled.creation)
    if contract.vka:
        words = calldata.register(contract.vka)
        assert found.register_vka == max(chain.call(address, words).gas, price.floor(words))
    assert found.verify_bytes == len(data)
    assert chain.call(address, data, sender=ALICE).gas == pytest.approx(found.verify, rel=0.01)


def _flipped(word: bytes) -> bytes:
    return word[:-1] + bytes([word[-1] ^ 1])
