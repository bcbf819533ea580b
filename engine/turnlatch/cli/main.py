"""The frame of the command line: each command's module is imported when it runs.

`turnlatch --help` has to answer at once, so it lists the commands from a table instead of
importing them; importing one may cost the SDK.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, final

import attrs
import click

from turnlatch_command import interruptible


@final
@attrs.frozen
class Lazy:
    """A command that is not imported yet.

    Attributes:
        where: `module:attribute`.
        help: Its one-line help, word for word as the command itself has it.
    """

    where: str
    help: str


COMMANDS: Final[Mapping[str, Lazy]] = MappingProxyType(
    {
        "demo": Lazy(
            "turnlatch.cli.demo:demo", "Watch one conversation survive six faults."
        ),
        "chat": Lazy(
            "turnlatch.cli.chat:chat", "Talk in a conversation that nothing can break."
        ),
        "list": Lazy(
            "turnlatch.cli.list:list_",
            "List the conversations of a store, the last used first.",
        ),
        "simulate": Lazy(
            "turnlatch.cli.simulate:simulate",
            "Run a strict local Messages API; any client, any key.",
        ),
        "break": Lazy(
            "turnlatch.cli.break_:break_",
            "Break an agent: faults, refusals and kills until it fails.",
        ),
        "diagram": Lazy(
            "turnlatch.cli.diagram:diagram",
            "Draw MACHINE: turn (the default), call, thread or writer.",
        ),
        "check": Lazy(
            "turnlatch.cli.check:check", "Check a request against the rules of the API."
        ),
        "verify": Lazy(
            "turnlatch.cli.verify:verify",
            "Prove the engine within bounds, or hold a store to the tables.",
        ),
        "explain": Lazy(
            "turnlatch.cli.explain:explain",
            "Say what an error, a remedy or a state means, and what is done.",
        ),
    }
)
"""Every command, in the order `--help` lists them."""


@final
class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, _, attribute = lazy.where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), lazy.where
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a `TurnlatchError` becomes one line, and so does a Ctrl-C at any
        moment."""
        with interruptible():
            try:
                return super().invoke(ctx)
            except Exception as error:  # noqa: BLE001 - raised again, or told
                _refuse(error)

    def main(self, *args: Any, **given: Any) -> Any:
        """Run the command line; what it writes to a terminal is guarded from here on."""
        from turnlatch.cli.terminal import guard_streams

        guard_streams()
        return super().main(*args, **given)


class OneLineError(click.ClickException):
    """An error of turnlatch, for people: one line, no traceback."""

    def show(self, file: Any = None) -> None:
        """Print it."""
        from turnlatch.cli.terminal import one_line

        click.echo(f"turnlatch: {one_line(self.message)}", file=file, err=file is None)


class SettingRefusedError(OneLineError):
    """An option or argument cannot be used."""

    exit_code = 2


class UnreadableError(OneLineError):
    """A turnlatch file cannot be read, or is not safe to use."""

    exit_code = 7


def _refuse(error: Exception) -> NoReturn:
    # Imported here: the errors need the core, and `--help` does not.
    from turnlatch_states.fsm.errors import CoreBugError, TurnlatchError

    if isinstance(error, TurnlatchError) and not isinstance(error, CoreBugError):
        raise OneLineError(str(error)) from error
    raise error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without credentials `chat` runs on the built-in simulator, and shows SIM.",
)
@click.version_option(package_name="turnlatch", message="%(prog)s %(version)s")
def main() -> None:
    """Conversations with a model that are never stuck and never lie.

    \b
    Try:
        turnlatch demo
        turnlatch chat
        turnlatch diagram turn
    """
