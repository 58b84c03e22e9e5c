"""The command ``verinfer``: finds its subcommands, and turns every failure into one line and an exit code.

Subcommands are entry points of the group ``verinfer.commands``, loaded when they are called: so the bottom folder names no
other, ``verify`` starts fast, and a command whose packages are not installed says what to install.
Exit codes: 0 done or verified, 1 rejected, 2 usage, 3 malformed, 4 could not check, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import click

from .errors import CouldNotCheck, Malformed, Rejected, UsageError, VerinferError
from .jail import JailError, hide_memory
from .terminal import say

EXIT_CODES: dict[type[VerinferError], int] = {Rejected: 1, UsageError: 2, Malformed: 3, CouldNotCheck: 4}
INTERRUPTED = 130
COMMAND_GROUP = "verinfer.commands"

_ORDER = (
    "demo",
    "export",
    "compile",
    "reproduce",
    "card",
    "serve",
    "infer",
    "verify",
    "policy",
    "contract",
    "srs",
    "warmup",
    "doctor",
)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        names = {point.name for point in entry_points(group=COMMAND_GROUP)}
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click passes it
        points = entry_points(group=COMMAND_GROUP, name=cmd_name)
        return _load(next(iter(points))) if points else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="verinfer")
def verinfer() -> None:
    """Machine-learning answers that anybody can check."""


def main() -> NoReturn:
    """Run the command line and exit; what it holds in memory (keys, samples) is hidden from native code's processes."""
    with suppress(JailError):  # Where there is no jail, what needs one says so itself.
        hide_memory()
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        verinfer.main(args=arguments, prog_name="verinfer", standalone_mode=False)
    except VerinferError as error:
        return _report(exit_code(error), error.code, error.message, as_json=as_json, field=error.field)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        hint = f" Try '{error.ctx.command_path} --help'." if error.ctx else ""
        return _report(2, "usage", error.format_message() + hint, as_json=as_json)
    except click.ClickException as error:
        return _report(2, "usage", error.format_message(), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("VERINFER_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}. This is a fault of verinfer; VERINFER_DEBUG=1 shows where."
        return _report(4, "internal", what, as_json=as_json)
    return 0


def exit_code(error: VerinferError) -> int:
    """The exit code of an error's family."""
    return next((code for family, code in EXIT_CODES.items() if isinstance(error, family)), 4)


def _report(status: int, code: str, message: str, *, as_json: bool, field: str | None = None) -> int:
    verdict = {1: "REJECTED", 3: "MALFORMED", 4: "COULD NOT CHECK"}.get(status, "error")
    if as_json:
        click.echo(json.dumps({"verdict": verdict.lower(), "code": code, "message": message, "field": field}))
    say(f"{verdict}: {code}: {message}", err=True)
    return status


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "native-missing",
            f"'verinfer {point.name}' needs the package {error.name}; see the README's section Install.",
        ) from error
    if not isinstance(command, click.Command):
        raise TypeError(f"{point.value} is no command")
    return command
