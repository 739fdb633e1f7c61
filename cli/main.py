"""The ``kofn`` command: it only assembles. A command's module is imported when the command is used, so that ``kofn get`` starts fast."""

from __future__ import annotations

import importlib
import sys
from typing import Any, cast

import click

from cli import output
from cli.failure import MEANING, Exit, Failure
from cli.usage import repeating_nothing

_COMMANDS = {
    "create": "cli.secrets:create",
    "update": "cli.secrets:update",
    "get": "cli.secrets:get",
    "history": "cli.listing:history",
    "delete": "cli.secrets:delete",
    "list": "cli.listing:list_names",
    "env": "cli.env:env",
    "run": "cli.run:run",
    "status": "cli.listing:status",
    "certificates": "cli.certificate_commands:certificates",
    "token": "cli.token_commands:token",
    "audit": "cli.audit_commands:audit",
    "local": "cli.local_commands:local",
    "demo": "cli.demo:demo",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return cast(click.Command, command)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with repeating_nothing():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with repeating_nothing():
                return super().invoke(ctx)
        except Failure as failure:
            failure.show()
            ctx.exit(failure.exit_code)


_EXIT_CODES = "\n".join(f"{code.value}  {meaning}" for code, meaning in MEANING.items())


@click.group(
    cls=_LazyGroup,
    epilog=f"\b\nExit codes:\n{_EXIT_CODES}\n\nkofn run exits with 125, 126 or 127 when it could not start the command.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="kofn")
def kofn() -> None:
    """A distributed secrets vault: any k of n nodes serve, k-1 reveal nothing.

    \b
    Settings, each from the first place that has it:
      environment   KOFN_URL, KOFN_TOKEN or KOFN_TOKEN_FILE, KOFN_CA_FILE, KOFN_NAMESPACE
      config file   ~/.config/kofn/config.toml (or KOFN_CONFIG): url, token_file, ca_file, namespace
      this machine  the cluster that `kofn local start` made, in ~/.local/share/kofn/local (or KOFN_DATA)
    """


def main() -> None:
    """Run the command line; nothing that goes wrong shows a traceback, whose frames could hold values."""
    output.replace_closed_streams()
    try:
        kofn(prog_name="kofn")
    except Exception as error:  # noqa: BLE001 - the last resort, see above
        failure = Failure(f"unexpected {type(error).__name__}{_where(error)}", "please report it with the command's name")
        failure.show()
        sys.exit(Exit.FAILED)


def _where(error: Exception) -> str:
    """The module and line that raised; the error's own text stays out, for it may quote its input."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f" in {frame.tb_frame.f_globals.get('__name__', '?')}, line {frame.tb_lineno}"


if __name__ == "__main__":
    main()
