"""Prints texts for people so that nothing in them can pass for a line of ours.

Takes text whose lines are ours and whose words may be somebody else's.
On a terminal each line is folded here and goes on indented: a terminal that folds by itself starts the rest in the first
column, where a verdict stands.
"""

from __future__ import annotations

import re
import shutil
import sys
from unicodedata import category, east_asian_width

import click

_INDENT = 6
_LEAST_WIDTH = 20


def say(text: str, *, err: bool = False) -> None:
    """Print `text`, to standard error if `err`."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    click.echo(shown(text, width=width), err=err)


def shown(text: str, *, width: int | None) -> str:
    """`text` without controls and formatting marks, its lines folded to `width` columns if there is one."""
    lines = [
        "".join(each if each.isprintable() else "?" for each in line)
        for line in text.replace("\r\n", "\n").split("\n")
    ]
    if width is not None:
        lines = [part for line in lines for part in _fold(line, max(width, _LEAST_WIDTH))]
    return "\n".join(lines)


def _fold(line: str, width: int) -> list[str]:
    parts, part, used = list[str](), "", 0
    for word in re.findall(" *[^ ]+", line):
        if used and used + _columns(word) > width and _columns(word) + _INDENT <= width:
            parts.append(part)
            part, used = " " * (_INDENT - 1), _INDENT - 1
        for each in word:
            if used + _columns(each) > width:
                parts.append(part)
                part, used = " " * _INDENT, _INDENT
            part, used = part + each, used + _columns(each)
    return [*parts, part]


def _columns(text: str) -> int:
    return sum(
        0 if category(each) in ("Mn", "Me") else 2 if east_asian_width(each) in "WF" else 1 for each in text
    )
