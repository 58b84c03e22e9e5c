"""Every public error of verinfer, as one tree, and the table of their stable codes.

::

    VerinferError
    ├── UsageError       the caller asked for something that makes no sense       (exit 2)
    ├── Malformed        bytes that are not what they should be                   (exit 3)
    ├── Rejected         well-formed, but not to be believed                      (exit 1)
    └── CouldNotCheck    no verdict: a tool, a file or a resource was missing     (exit 4)

Parse, verify and operate fail in different families, so "malformed", "rejected" and "could not check" are never confused.
An error is told apart by its ``code``, never by its text.
A code is in `CODES`, keeps its meaning for ever, and is what vectors, problem documents and the README name.
"""

from __future__ import annotations

from typing import ClassVar

CODES: dict[str, str] = {
    # malformed: the bytes cannot be read as what they claim to be
    "too-large": "The document is larger than the stated limit.",
    "json-invalid": "Not strict JSON: UTF-8, no duplicate keys, no floats, no NaN, bounded depth.",
    "receipt-malformed": "The receipt does not have the fields of its media type.",
    "envelope-malformed": "The DSSE envelope is not valid.",
    "statement-malformed": "The statement does not have the fields of its predicate type.",
    "statement-subject-mismatch": "The subject's digest is not that of the output.",
    "evidence-malformed": "A piece of evidence does not have the fields of its kind.",
    "policy-malformed": "The policy does not have the fields of its type.",
    "manifest-malformed": "The manifest does not have the fields of its type.",
    "settings-malformed": "The settings are not canonical or do not agree with the manifest.",
    "srs-malformed": "The SRS file is not a canonical k=1 cut.",
    "answer-malformed": "The service's answer is not of its own protocol.",
    "package-malformed": "The folder is not a circuit package.",
    "spec-malformed": "The model's spec does not have the fields of its type.",
    "sample-malformed": "The sample cannot be read in the stated form.",
    "key-malformed": "Not an Ed25519 key in PEM form.",
    "salt-malformed": "A salt is 32 bytes as 64 lower-case hex digits.",
    "description-malformed": "The description of an integer network is not valid for verinfer-sc/1.",
    "contract-malformed": "The folder is not what 'verinfer contract build' makes.",
    # rejected: the numbered steps of verification, in their order
    "policy-expired": "The policy is past its valid_until.",
    "policy-rollback": "The policy's serial is below the smallest one accepted.",
    "policy-signature-invalid": "The policy is not signed by the pinned owner.",
    "issuer-unknown": "The statement's issuer is not pinned.",
    "issuer-revoked": "The statement's issuer is revoked.",
    "issuer-not-valid-then": "The issuer's key was not valid at issued_at.",
    "issuer-mismatch": "The statement names another issuer than the key that signed.",
    "signature-invalid": "The envelope's signature does not verify.",
    "nonce-mismatch": "The statement answers another nonce.",
    "audience-mismatch": "The statement is for another audience.",
    "mode-mismatch": "The statement is of another mode than asked.",
    "issued-in-future": "issued_at is more than 60 s ahead of now.",
    "too-old": "issued_at is longer ago than max_age.",
    "model-not-pinned": "The statement's model is not in the policy.",
    "model-mismatch": "The statement is about another pinned model than the one expected.",
    "model-ambiguous": "The policy pins several models and none was named.",
    "model-revoked": "The model is revoked.",
    "circuit-not-pinned": "The circuit is not accepted for this model.",
    "circuit-revoked": "The circuit is revoked.",
    "runtime-not-pinned": "The runtime is not accepted for this model.",
    "bundle-mismatch": "A local file of the verify bundle does not have the pinned digest.",
    "tensors-mismatch": "The statement's tensors are not those of the pinned manifest.",
    "input-mismatch": "The statement's input is not the caller's, quantised.",
    "input-undisclosed": "The statement tells nothing of its input, so it cannot be compared.",
    "visibility-mismatch": "The circuit shows more or less of its input than the one that was asked.",
    "proof-invalid": "The proof does not verify for this statement.",
    "security-too-low": "A proof of this kind is worth fewer bits than are required.",
    "proof-system-not-accepted": "The circuit is of a proof system that the policy does not name.",
    "not-zero-knowledge": "The mode promises a zero-knowledge proof, and the circuit's proof system makes none.",
    "proof-for-wrong-runtime": "A proof stands beside a statement that no circuit made.",
    "evidence-unsupported": "A kind of evidence that this verifier cannot check.",
    "evidence-missing": "Evidence that the policy requires is absent.",
    "insecure-srs": "The SRS is not the ceremony's and the policy does not allow an insecure one.",
    "not-reproduced": "A rebuild did not give the package's identity.",
    # rejected: on chain
    "chain-reverted": "The contract refuses the call.",
    "code-mismatch": "The code on chain is not the contract that was built.",
    "fee-too-high": "The node asks more gas, or more for it, than was allowed.",
    # could not check
    "bundle-missing": "The verify bundle of the pinned circuit is not at hand.",
    "file-missing": "A file that was named cannot be read.",
    "native-missing": "A package that runs native code is not installed.",
    "child-panicked": "Native code panicked.",
    "child-aborted": "Native code aborted.",
    "child-out-of-memory": "The memory limit of a child process was reached.",
    "child-out-of-time": "The time limit of a child process was reached.",
    "child-file-too-large": "A child process wrote a larger file than allowed.",
    "child-killed": "A child process was killed from outside.",
    "child-cancelled": "The work was cancelled.",
    "child-refused": "Native code refused its input.",
    "child-no-answer": "A child process ended without an answer.",
    "jail-unavailable": "This system offers no way to confine native code.",
    "kernels-missing": "The kernels of verinfer-sc/1 are not compiled on this machine yet; run 'verinfer warmup'.",
    "export-differs": "The exported model does not compute what the trained one does.",
    "circuit-inconsistent": "Two runs of one circuit gave different outputs.",
    "rewrite-unknown": "The circuit was made with a rewrite that this version does not know.",
    "rewrite-differs": "A rewritten network does not compute what the given one does.",
    "no-circuit": "No circuit of this model meets the target.",
    "exists": "The output is there already.",
    "model-refused": "The ONNX file holds something that verinfer does not prove.",
    "model-unsupported": "The proof system cannot take one of the model's nodes.",
    "model-too-large": "No circuit of the model fits the memory or the largest public SRS.",
    "demo-failed": "A step of the demo did not do what it must.",
    "disk-full": "The disk is full.",
    "not-writable": "A file or folder that was named cannot be written.",
    "artifact-torn": "A file does not have the digest that was recorded for it.",
    "node-missing": "Node or npm, which the Solidity compiler needs, is not installed.",
    "solc-missing": "The Solidity compiler could not be installed.",
    "solc-failed": "The Solidity compiler refused its input or failed.",
    "contract-differs": "The contract is not the expected one, so it is not safe to deploy.",
    "chain-unreachable": "The node cannot be reached.",
    "chain-refused": "The node refused the call.",
    "chain-too-slow": "The transaction was not included in the time allowed.",
    "service-unreachable": "The service cannot be reached.",
    "service-refused": "The service refused the request or failed.",
    "service-too-slow": "The service did not answer in the time allowed.",
    # usage and bad input
    "usage": "The command's arguments do not fit together.",
    "system-unsuitable": "This takes circuits of another proof system.",
    "not-on-chain": "Contracts check the proofs of EZKL's circuits only.",
    "contract-too-large": "The contract has more bytes than a chain takes.",
    "inputs-hidden": "The circuit hides its input, and contracts take those with public inputs only.",
    "outputs-unlike": "The model's outputs have different scales, which the consumer contract does not know.",
    "account-missing": "No key to sign transactions with was given.",
    "not-deployed": "The contract was not deployed on this chain yet.",
    "target-malformed": "A target of the compiler cannot be read.",
    "srs-missing": "The ceremony's SRS of the size that a circuit needs is not at hand.",
    "value-not-finite": "A number is NaN or infinite.",
    "value-out-of-range": "A number is outside the range that the circuit can hold.",
    "value-not-integer": "An integer tensor holds a number that is not an integer.",
    "shape-mismatch": "A tensor does not have the model's shape.",
    "dtype-mismatch": "A tensor does not have the model's datatype.",
    "input-missing": "An input tensor of the model is absent.",
    "input-unknown": "A tensor is given that the model does not have.",
}


class VerinferError(Exception):
    """Something verinfer refuses; ``code`` is stable, the message says what to do next."""

    family: ClassVar[str] = "error"

    def __init__(self, code: str, message: str = "", *, field: str | None = None) -> None:
        if code not in CODES:
            raise KeyError(f"undeclared error code {code!r}")
        self.code = code
        self.message = message or CODES[code]
        self.field = field
        super().__init__(f"{code}: {self.message}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.code, self.message, self.field)


def _rebuild(cls: type[VerinferError], code: str, message: str, field: str | None) -> VerinferError:
    return cls(code, message, field=field)


class UsageError(VerinferError):
    """The caller asked for something that makes no sense."""

    family = "usage"


class Malformed(VerinferError):
    """Bytes that are not what they should be."""

    family = "malformed"


class Rejected(VerinferError):
    """Well-formed, but not to be believed."""

    family = "rejected"


class CouldNotCheck(VerinferError):
    """No verdict: a tool, a file or a resource was missing."""

    family = "could-not-check"
