"""Why a contract refuses a call, in words: by the error's name in the contracts' sources."""

from __future__ import annotations

from .words import selector

ERRORS: dict[str, str] = {
    "LayoutEmpty()": "the model's layout has no inputs or no outputs",
    "OtherVerifier(bytes32)": "the code at the verifier's address is not the one that the consumer pins",
    "OtherModel(bytes32)": "the proof is valid, of another model than the consumer pins",
    "ModelNotActive(uint8)": "the registry has no active version with the consumer's model, so nothing can be requested",
    "ModelRevoked()": "the registry's owner has revoked the model",
    "UnknownRequest(uint256)": "the consumer has no request of this number",
    "AlreadySettled(uint256)": "the request was settled before; an answer counts once",
    "AlreadyExpired(uint256)": "the request was closed after its deadline",
    "NotSettled(uint256)": "the request has no answer yet",
    "DeadlinePassed(uint64)": "the deadline is over; close the request with 'verinfer contract expire'",
    "DeadlineNotPassed(uint64)": "the deadline is not over yet, by the time of the chain's last block",
    "WrongProofLength(uint256,uint256)": "the proof is longer or shorter than the circuit's",
    "WrongInstanceCount(uint256,uint256)": "there are more or fewer instances than the circuit has",
    "InstanceNotCanonical(uint256)": "an instance is not below the field's order",
    "OtherChallenge()": "the receipt is not for this request: it was asked with another nonce",
    "OtherInput()": "the receipt is about another input than the request's",
    "AnswerOutOfRange(uint256)": "a number of the answer is beyond 64 bits",
    "ProofRejected()": "the verifier refuses the proof; with a reusable one, was 'verinfer contract register' run?",
    "NotOwner()": "only the owner may do this",
    "NotOffered()": "the registry was not offered to this account",
    "PinEmpty()": "the model's pin is empty",
    "PinPublished(bytes32)": "the model's pin was published before",
    "PinNotPublished(bytes32)": "the model's pin was not published",
    "NoVersion(bytes32)": "the registry has no version of this model",
    "StakeOutOfRange()": "the stake is nothing, or too much",
    "NoBeneficiary()": "the stake has no beneficiary: the zero address cannot take it",
    "NothingToWithdraw()": "nothing is credited to this account",
    "WithdrawalFailed()": "the account did not take its money",
    "OneOutput()": "the model has one output only",
}
"""By signature, all errors of verinfer's contracts."""

_BY_SELECTOR = {selector(signature): signature for signature in ERRORS}


def explain(output: bytes) -> tuple[str, str]:
    """An error's name and a sentence about it; what only EZKL's verifiers do is to revert with nothing."""
    signature = _BY_SELECTOR.get(output[:4])
    if signature is None:
        return "", "The contract refuses the call without saying why" + (
            f" (0x{output[:36].hex()})." if output else "; a verifier does so with a proof that is not valid."
        )
    name = signature.partition("(")[0]
    return name, f"{name}: {ERRORS[signature]}."
