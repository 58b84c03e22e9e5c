"""An upload becomes a build job: received into a folder of its own, checked in a jailed child, and only then queued.

Whatever goes wrong before the job is stored leaves nothing behind. Nothing here reads the model or the samples: a child does, and
the build that follows.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.verifier import files
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import Malformed, VerinferError

from . import storage
from .errors import Refused
from .forms import Form, FormReader, read_boundary
from .idempotency import Key, read_key
from .job_store import make_id
from .jobs import BuildOrder
from .parts import Parts, Resources
from .settings import Settings
from .upload_form import FILES, TEXTS, read_order

_CHUNK = 1 << 20
_CHECK_SECONDS = 20
"""In which a child has read the model; whatever takes longer is refused."""

_UNREADABLE = {
    "child-out-of-time": f"reading it takes longer than {_CHECK_SECONDS} s",
    "child-out-of-memory": "reading it takes too much memory",
    "child-file-too-large": "its plain form is too large",
    "child-aborted": "reading it crashed",
    "child-panicked": "reading it crashed",
    "child-refused": "it cannot be read",
    "child-no-answer": "it cannot be read",
}
"""What a model is told that its reader could not bear."""


async def accept(request: Request, parts: Parts) -> str:
    """Receive, check and queue an upload; gives its job, or the one that the request's idempotency key led to before.

    Raises `VerinferError`; then nothing of it is left.
    """
    resources = parts.resources
    settings, folder = resources.settings, resources.folder
    _require_welcome(request, settings)
    boundary = read_boundary(request.headers.get("content-type"))
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    if size > settings.upload_bytes:
        raise _too_large(settings)
    # Before hundreds of megabytes are sent for nothing.
    read_key(request.headers.get("idempotency-key"), b"")
    await run_in_threadpool(storage.require_room, settings, folder, size)
    await run_in_threadpool(resources.builds.require_room, queue_limit=settings.build_queue_limit)
    with parts.receiving.one(), tempfile.TemporaryDirectory(dir=folder.uploads, prefix=".") as name:
        aside = Path(name)
        upload = aside / "upload"
        await run_in_threadpool(upload.mkdir)
        form = await _receive(request, boundary, upload, settings)
        order = await run_in_threadpool(read_order, form, settings)
        key = read_key(request.headers.get("idempotency-key"), _digest(order, form))
        known = await run_in_threadpool(resources.builds.recall, key)
        if known is not None and known.job is not None:
            return known.job
        await run_in_threadpool(_require_free, resources, order)
        await run_in_threadpool(_check_model, order, aside)
        return await run_in_threadpool(_store, resources, order, upload, key)


def _require_welcome(request: Request, settings: Settings) -> None:
    if not settings.allow_uploads:
        raise Refused("uploads-off")
    # A form of any web page may be sent to this machine by its user's browser, which says so here.
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
        raise Refused("origin-refused", field="Origin")
    if "content-encoding" in request.headers:
        raise Refused("media-type-unsupported", field="Content-Encoding")


async def _receive(request: Request, boundary: bytes, folder: Path, settings: Settings) -> Form:
    """The parts of the body, files in `folder`; a body that is refused is read to its end, so that the client hears why."""
    reader = FormReader(boundary, folder, files=FILES, texts=TEXTS)
    received, pending = 0, bytearray()
    failure: VerinferError | None = None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.upload_seconds
    try:
        async with asyncio.timeout_at(min(deadline, loop.time() + settings.body_seconds)) as patience:
            async for chunk in request.stream():
                patience.reschedule(min(deadline, loop.time() + settings.body_seconds))
                received += len(chunk)
                if received > settings.upload_bytes:
                    raise _too_large(settings)
                pending += chunk
                if failure is not None:
                    pending.clear()
                elif len(pending) >= _CHUNK:
                    failure = await run_in_threadpool(_write, reader, bytes(pending), folder, settings)
                    pending.clear()
        if failure is None:
            failure = await run_in_threadpool(_write, reader, bytes(pending), folder, settings)
    except TimeoutError as error:
        raise Refused("body-too-slow") from error
    except ClientDisconnect as error:
        raise Refused("body-too-slow", "The client left before its body was whole.") from error
    finally:
        reader.close()
    if failure is not None:
        raise failure
    return reader.form()


def _write(reader: FormReader, data: bytes, folder: Path, settings: Settings) -> VerinferError | None:
    try:
        storage.require_disk(settings, folder, len(data))
        reader.write(data)
    except VerinferError as error:
        return error
    return None


def _too_large(settings: Settings) -> Malformed:
    return Malformed("too-large", f"An upload is at most {settings.upload_bytes} bytes.", field="body")


def _digest(order: BuildOrder, form: Form) -> bytes:
    """What tells one upload from another, whatever its boundary was."""
    digests = {name: part.digest for name, part in form.files.items()}
    return json.dumps([asdict(order), digests], sort_keys=True).encode()


def _require_free(resources: Resources, order: BuildOrder) -> None:
    resources.catalogue.refresh()
    if order.version in resources.catalogue.models.get(order.model, {}):
        raise Refused("model-exists", field="version")
    resources.builds.require_free(order, is_there=storage.is_there(resources.folder))


def _check_model(order: BuildOrder, aside: Path) -> None:
    """Raise `Malformed` (``model-refused``, ``model-unsupported``) for a model that no build would take."""
    scratch, model = aside / "check", aside / "upload" / "network.onnx"
    scratch.mkdir()
    limits = PARSE_LIMITS._replace(wall_seconds=_CHECK_SECONDS, cpu_seconds=_CHECK_SECONDS)
    place = Workplace(directory=scratch, limits=limits)
    try:
        if order.bare:
            place.onnx("adopt", model=model, output=scratch / "plain.onnx", without_head=order.cut_head)
        else:
            place.onnx("inspect", model=model)
    except ChildFailed as failure:
        if failure.code not in _UNREADABLE:
            raise
        message = f"The model is refused: {_UNREADABLE[failure.code]}."
        raise Malformed("model-refused", message, field="model") from failure


def _store(resources: Resources, order: BuildOrder, upload: Path, key: Key | None) -> str:
    folder, job = resources.folder, make_id()
    files.publish_folder(upload, folder.uploads / job)
    try:
        known = resources.builds.add(
            job,
            order,
            now=time.time(),
            queue_limit=resources.settings.build_queue_limit,
            is_there=storage.is_there(folder),
            key=key,
        )
    except BaseException:
        storage.remove_upload(folder, job)
        raise
    assert known.job is not None
    if known.job != job:
        storage.remove_upload(folder, job)
    return known.job
