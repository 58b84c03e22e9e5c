"""What an upload may say, and what it means: the options of ``verinfer compile``, as parts of a form.

A model comes with its spec, or bare; of a bare one its owner says what a spec would.
Source: `verinfer.circuits.cli`, whose refusals and codes these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from verinfer.circuits.adopt import Task
from verinfer.circuits.targets import BUDGET, parse_seconds, parse_targets, require_suitable
from verinfer.verifier import files
from verinfer.verifier.errors import Malformed, UsageError
from verinfer.verifier.manifest import MOST_BATCHED, Visibility
from verinfer.verifier.model_spec import SPEC_LIMIT, parse_spec
from verinfer.verifier.wire import Items, Name, Text

from .errors import Refused
from .forms import Form
from .jobs import BuildOrder
from .settings import Settings

_WHOLE = 1 << 62
"""The limit of the body is the limit of these."""

FILES = {
    "model": ("network.onnx", _WHOLE),
    "samples": ("samples.npz", _WHOLE),
    "spec": ("spec.json", SPEC_LIMIT),
    "labels": ("labels.txt", 1 << 20),
}
"""Parts that are files: what they are called here, and the most bytes of each."""

TEXTS = frozenset({"name", "version", "task", "cut_head", "target", "budget", "batch", "inputs"})

_OF_A_BARE_MODEL = ("name", "version", "task", "labels", "cut_head")


def read_order(form: Form, settings: Settings) -> BuildOrder:
    """The order of a form.

    Raises `Refused` (``request-malformed``), `UsageError` (``usage``, ``target-malformed``) or `Malformed` (``spec-malformed``).
    """
    for needed in ("model", "samples"):
        if needed not in form.files:
            raise Refused("request-malformed", f"The part {needed} is missing.", field=needed)
    texts = form.texts
    order: dict[str, Any] = {
        "target": texts.get("target", ""),
        "budget": _budget(texts.get("budget"), settings),
        "batch": _batch(texts.get("batch", "1")),
        "inputs": _one_of(get_args(Visibility), texts.get("inputs", "public"), "inputs"),
    }
    targets = parse_targets(order["target"])
    if "spec" not in form.files:
        order |= _bare(form)
        if order["task"] is not None:
            require_suitable(targets, order["task"])
        return BuildOrder(bare=True, **order)
    superfluous = next((name for name in _OF_A_BARE_MODEL if name in {*texts, *form.files}), None)
    if superfluous is not None:
        raise UsageError("usage", f"The spec says what {superfluous} says; leave it out.", field=superfluous)
    spec = parse_spec(files.read(form.files["spec"].path, limit=SPEC_LIMIT))
    require_suitable(targets, spec.task)
    if spec.onnx != form.files["model"].digest:
        raise UsageError("model-refused", "The model is not the file that the spec names.", field="model")
    return BuildOrder(bare=False, model=spec.name, version=spec.version, **order)


def _bare(form: Form) -> dict[str, Any]:
    texts = form.texts
    if "name" not in texts:
        raise UsageError("usage", "A model without a spec needs a name.", field="name")
    return {
        "model": _name(texts["name"], "name"),
        "version": _name(texts.get("version", "1"), "version"),
        "task": _one_of(get_args(Task), texts["task"], "task") if "task" in texts else None,
        "labels": _labels(form),
        "cut_head": _one_of(("true", "false"), texts.get("cut_head", "false"), "cut_head") == "true",
    }


def _one_of(words: Sequence[str], text: str, field: str) -> str:
    if text not in words:
        raise UsageError("usage", f"{field} is one of {', '.join(words)}.", field=field)
    return text


def _name(text: str, field: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        message = f"A {field} is of letters, digits, '.', '_' and '-', at most 64, and begins with none of the last three."
        raise UsageError("usage", message, field=field) from error


def _labels(form: Form) -> tuple[str, ...] | None:
    if "labels" not in form.files:
        return None
    part = form.files["labels"]
    try:
        lines = tuple(files.read(part.path, limit=part.size).decode("utf-8").splitlines())
        return TypeAdapter(Items[Text]).validate_python(lines)
    except UnicodeDecodeError as error:
        raise UsageError("usage", "labels is not UTF-8.", field="labels") from error
    except ValidationError as error:
        raise Malformed("spec-malformed", "A label is a line of printable text.", field="labels") from error


def _budget(text: str | None, settings: Settings) -> float:
    try:
        seconds = BUDGET if text is None else parse_seconds(text)
    except ValueError as error:
        raise UsageError("usage", f"{error}.", field="budget") from error
    return min(seconds, settings.build_seconds)


def _batch(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST_BATCHED):
        raise UsageError("usage", f"A batch is a number from 1 to {MOST_BATCHED}.", field="batch")
    return int(text)
