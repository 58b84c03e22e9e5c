"""Sends a model to a service that builds circuits, waits for the build, and fetches what its owner needs to check it.

Nothing that comes back is believed here: whether the circuit is the model's, only a rebuild shows (``verinfer reproduce``).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import httpx

from . import files, keys
from .bundle import Bundle, open_bundle
from .client import OnProgress, fetch_bundle, read_job, read_json, receive, send, wait_for_job
from .errors import CouldNotCheck, Malformed, Rejected, UsageError
from .manifest import Visibility

_ANSWER_SECONDS = 120.0
"""How long a service may check an upload before it answers."""
_FETCH_SECONDS = 3600

_SRS_POINT = 128
_SRS_REST = 260
"""An SRS file has 2^k pairs of points, and a few bytes more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is sent: files by the names of their parts (``model``, ``samples``, ``spec``, ``labels``), and short texts."""

    files: Mapping[str, Path]
    texts: Mapping[str, str]


def submit(client: httpx.Client, upload: Upload, *, seconds: float, on_progress: OnProgress) -> str:
    """Send an upload and give the job that builds it.

    Raises `ServiceError`, `CouldNotCheck` (``service-unreachable``, …), `UsageError` for one that is too large there.
    """
    deadline = time.monotonic() + seconds
    total = sum(path.stat().st_size for path in upload.files.values())
    most = read_json(send(client, "GET", "/.well-known/verinfer.json", deadline)).get("most_upload_bytes", 0)
    # A service that refuses a body may hang up before its reason is read.
    if isinstance(most, int) and 0 < most < total:
        raise UsageError("usage", f"The files have {total} bytes; this service takes {most} at most.")
    with ExitStack() as opened:
        sent = _Sent(total, on_progress)
        parts = {
            name: (name, _Counted(opened.enter_context(path.open("rb")), sent), "application/octet-stream")
            for name, path in upload.files.items()
        }
        answer = send(
            client,
            "POST",
            "/v1/models",
            deadline,
            data=upload.texts,
            files=parts,
            headers={"Idempotency-Key": secrets.token_hex(16)},
            timeout=httpx.Timeout(30.0, read=_ANSWER_SECONDS),
        )
    return read_job(read_json(answer).get("id"))


@dataclass(frozen=True, slots=True)
class Built:
    """What a service says that it has built."""

    model: str
    version: str
    circuit: str


def wait(client: httpx.Client, job: str, *, seconds: float, on_progress: OnProgress) -> Built:
    """Wait until a build has succeeded; raises what `client.wait_for_job` raises."""
    state = wait_for_job(client, job, time.monotonic() + seconds, on_progress)
    facts = [state.get(name) for name in ("model", "version", "circuit")]
    match facts:
        case [str(model), str(version), str(circuit)]:
            return Built(model, version, circuit)
        case _:
            raise Malformed("answer-malformed", "The job did not build a model.")


def fetch(
    client: httpx.Client,
    built: Built,
    out: Path,
    on_progress: OnProgress,
    *,
    batch: int = 1,
    inputs: Visibility = "public",
) -> Bundle:
    """Fetch into the new folder `out` what a rebuild and a policy need: ``verify/``, ``service.pub.pem``, for EZKL ``kzg.srs``.

    `batch` and `inputs` are what was asked for, since a rebuild does not mind.
    Raises `UsageError` (``exists``), `Rejected` (``bundle-mismatch`` for files of another circuit, ``not-reproduced`` for one
    that was not asked for), and what `send` raises.
    """
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or choose another --out.")
    deadline = time.monotonic() + _FETCH_SECONDS
    home = f"{built.model}/versions/{built.version}"
    with files.folder_aside(out.absolute()) as aside:
        folder = aside / "made"
        (folder / "verify").mkdir(parents=True)
        bundle = open_bundle(fetch_bundle(client, home, deadline), built.circuit)
        model = bundle.manifest.model
        if (model.name, model.version) != (built.model, built.version):
            raise Malformed("answer-malformed", "The service's circuit is of another model.")
        found = bundle.manifest.samples, bundle.manifest.visibility
        if found != (batch, inputs):
            message = f"The service built a circuit of {found[0]} samples with {found[1]} inputs, which was not asked for."
            raise Rejected("not-reproduced", message)
        for name, data in bundle.files.items():
            files.write_atomically(folder / "verify" / name, data)
        if bundle.provenance != "transparent":
            path = f"/v1/models/{home}/srs"
            _fetch_srs(client, path, bundle, folder / "kzg.srs", deadline, on_progress)
        files.write_atomically(folder / "service.pub.pem", _service_key(client, deadline))
        files.publish_folder(folder, out.absolute())
    return bundle


def _fetch_srs(
    client: httpx.Client, path: str, bundle: Bundle, to: Path, deadline: float, on_progress: OnProgress
) -> None:
    system = bundle.manifest.ezkl
    size = _SRS_POINT * (1 << system.run_args.logrows) + _SRS_REST
    sent, digest = _Sent(size, on_progress, "fetching"), hashlib.sha256()
    with files.naming_trouble(to), to.open("xb") as file:

        def take(chunk: bytes) -> None:
            file.write(chunk)
            digest.update(chunk)
            sent.add(len(chunk))

        receive(client, "GET", path, deadline, take, size)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != system.srs.full:
        raise CouldNotCheck("artifact-torn", "The service's SRS file is not the one that its manifest names.")


def _service_key(client: httpx.Client, deadline: float) -> bytes:
    """The key that the service says is its own, as PEM."""
    listed = read_json(send(client, "GET", "/.well-known/verinfer.json", deadline)).get("keys")
    match listed:
        case [{"key": str(key)}, *_]:
            return keys.public_pem(keys.decode_public(key))
        case _:
            raise Malformed("answer-malformed", "The service names no key.")


class _Sent:
    """Progress of so many bytes."""

    def __init__(self, total: int, on_progress: OnProgress, phase: str = "sending") -> None:
        self._total, self._on_progress, self._phase, self._done = max(total, 1), on_progress, phase, 0

    def add(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        self._on_progress(self._phase, min(self._done / self._total, 1.0))


class _Counted:
    """A file that tells how much of it was read; httpx asks it for its size and then reads it once."""

    def __init__(self, file: BufferedReader, sent: _Sent) -> None:
        self._file, self._sent = file, sent

    def fileno(self) -> int:
        """For its size."""
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._sent.add(len(data))
        return data
