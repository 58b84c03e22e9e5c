from __future__ import annotations

import json
import logging
import sys

from verinfer.service.logs import JsonLines, request_id


def line(**changes: object) -> dict[str, object]:
    """One record as it is written."""
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "INFO", "msg": "hello %s", "args": ("x\ny",), **changes}
    )
    text = JsonLines().format(record)
    assert "\n" not in text
    entry: dict[str, object] = json.loads(text)
    return entry


def test_a_record_is_one_line_of_json() -> None:
    """Whatever the message holds, a log file has one object a line, with the facts that came with it."""
    token = request_id.set("r-1")
    try:
        entry = line(facts={"job": "j"})
    finally:
        request_id.reset(token)
    assert (entry["message"], entry["level"], entry["request"], entry["job"]) == (
        "hello x\ny",
        "info",
        "r-1",
        "j",
    )


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is one member of the object."""
    try:
        raise ValueError("broken")
    except ValueError:
        entry = line(exc_info=sys.exc_info())
    assert "ValueError: broken" in str(entry["exception"])
