"""Checks an EZKL proof: instances built here, files written here, EZKL's verdict from a limited child.

EZKL's ``verify`` returns True or raises for any reason, a bad proof and a missing file alike; after the files were checked
and written by us, a refusal counts as a refusal of the proof.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from . import files
from .bundle import Bundle
from .child import Child, ChildFailed
from .digest import challenge
from .errors import CODES, CouldNotCheck, Rejected
from .evidence import Evidence, Proof
from .instances import build_instances, to_field_hex
from .jail import GIB, Limits
from .statement import HashedTensor, PrivateTensor, Statement

VERIFY_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=60, file_bytes=64 << 20, wall_seconds=60)


class Children(Protocol):
    """Gives children of the module ``_ezkl``, each for one call, with a directory of its own."""

    def child(self) -> AbstractContextManager[tuple[Child, Path]]:
        """A child and its directory, until the context ends."""
        ...


class FreshChildren:
    """Starts a child when one is wanted."""

    @contextmanager
    def child(self) -> Iterator[tuple[Child, Path]]:
        """A child and its directory, until the context ends."""
        started = _start()
        with started.stack:
            yield started.child, started.directory


class WaitingChildren:
    """Keeps one started child in waiting, which hides its start-up time; close it when no check runs any more.

    The next one starts when a check has its verdict, so that it takes no processor from it. A thread of its own starts them
    all, since it must live as long as they do (see `Child`); so any thread may ask for one.
    """

    def __init__(self) -> None:
        self._lock, self._open = Lock(), True
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="verinfer-children")
        self._next: Future[_Started] | None = self._starter.submit(_start)

    @contextmanager
    def child(self) -> Iterator[tuple[Child, Path]]:
        """The child in waiting, or a new one if there is none, until the context ends."""
        try:
            started = self._take()
            with started.stack:
                yield started.child, started.directory
        finally:
            with self._lock:
                if self._open and self._next is None:
                    self._next = self._starter.submit(_start)

    def close(self) -> None:
        """End the waiting child; checks that come later start their own."""
        with self._lock:
            self._open, waiting, self._next = False, self._next, None
        if waiting is not None:
            with suppress(CouldNotCheck, OSError):
                waiting.result().stack.close()
        self._starter.shutdown()

    def _take(self) -> _Started:
        with self._lock:
            waiting, self._next = self._next, None
        if waiting is not None:
            # What kept this one from starting may keep no other.
            with suppress(CouldNotCheck, OSError):
                started = waiting.result()
                if started.child.lives:
                    return started
                started.stack.close()
        with self._lock:
            fresh = self._starter.submit(_start) if self._open else None
        return _start() if fresh is None else fresh.result()


@dataclass(frozen=True, slots=True)
class _Started:
    """A child, its directory, and what ends both."""

    child: Child
    directory: Path
    stack: ExitStack


def _start() -> _Started:
    """A child and its directory; raises `CouldNotCheck` or OSError."""
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="verinfer-verify-", ignore_cleanup_errors=True)
            )
        except OSError as error:
            raise CouldNotCheck("file-missing", f"There is no place for temporary files: {error}.") from error
        # What it reads is written into its directory, so it can be sealed while it waits.
        child = Child(
            "verinfer.verifier._ezkl", limits=VERIFY_LIMITS, directory=Path(directory), enclosed=True
        )
        stack.callback(child.close)
        return _Started(child, Path(directory), stack.pop_all())


class EzklCheck:
    """Checks proofs of the kind ``proof/ezkl-halo2-kzg``."""

    def __init__(self, children: Children | None = None) -> None:
        self._children = children or FreshChildren()

    def check(self, statement: Statement, bundle: Bundle, evidence: Evidence) -> None:
        """Return if the proof is valid for this statement; raises `Rejected` (``proof-invalid``) or `CouldNotCheck`."""
        assert isinstance(evidence, Proof)
        proof = evidence.data
        expected = bundle.manifest.ezkl.proof_bytes
        if len(proof) != expected:
            # EZKL ignores trailing bytes, so length is ours to check.
            raise Rejected(
                "proof-invalid", f"The proof has {len(proof)} bytes; this circuit's have {expected}."
            )
        manifest = bundle.manifest
        limbs = challenge(statement.predicate.nonce, statement.digest)
        arguments: dict[str, object] = {"version": manifest.ezkl.version}
        if manifest.visibility == "hashed":
            arguments |= {
                "hashed": [to_field_hex(limb) for limb in limbs],
                "place": len(manifest.tensors("input")),
            }
        with self._children.child() as (child, directory):
            instances = build_instances(manifest.layout, _values(statement), limbs)
            paths = _write_files(directory, _proof_file(proof, instances), bundle)
            try:
                accepted = child.call("verify", {**paths, **arguments})
            except ChildFailed as failure:
                if failure.code in ("child-refused", "child-panicked"):
                    raise Rejected("proof-invalid", CODES["proof-invalid"]) from failure
                raise
        if accepted is not True:
            raise Rejected("proof-invalid")

    def hash_tensors(self, tensors: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """The Poseidon hash of each tensor of integers, as statements have it; raises `CouldNotCheck`."""
        with self._children.child() as (child, _):
            answer = child.call(
                "poseidon", {"tensors": [[to_field_hex(value) for value in tensor] for tensor in tensors]}
            )
        try:
            return tuple(bytes.fromhex(text)[::-1].hex() for text in answer)
        except (TypeError, ValueError) as error:
            raise ChildFailed("child-no-answer") from error


def circuit_files(bundle: Bundle) -> dict[str, bytes]:
    """What the module ``_ezkl`` takes of a bundle, by the name of the argument."""
    names = {"settings": "settings.json", "vk": "vk.key", "srs": "kzg1.srs"}
    return {argument: bundle.files[name] for argument, name in names.items()}


def _values(statement: Statement) -> dict[str, Sequence[int]]:
    """By tensor: its integers, its hash, or nothing."""
    values: dict[str, Sequence[int]] = {}
    for tensor in (*statement.predicate.input, *statement.predicate.output):
        if isinstance(tensor, HashedTensor):
            values[tensor.name] = (int(tensor.hash, 16),)
        elif isinstance(tensor, PrivateTensor):
            values[tensor.name] = ()
        elif not isinstance(tensor.value, str):
            values[tensor.name] = tensor.value
    return values


def _proof_file(proof: bytes, instances: Sequence[int]) -> bytes:
    return json.dumps(
        {
            "protocol": None,
            "instances": [[to_field_hex(value) for value in instances]],
            "proof": list(proof),
            "hex_proof": "0x" + proof.hex(),
            "split": None,
            "pretty_public_inputs": None,
            "timestamp": None,
            "version": None,
        }
    ).encode()


def _write_files(directory: Path, proof: bytes, bundle: Bundle) -> dict[str, str]:
    content = {"proof": proof, **circuit_files(bundle)}
    for name, data in content.items():
        files.write_scratch(directory / name, data)
    return {name: str(directory / name) for name in content}
