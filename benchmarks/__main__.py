"""Side-by-side runs: `python -m benchmarks NAME`, each module of this folder with a command `main` being one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import click

# Modules of this folder that benchmarks share, no commands.
SHARED = ("interactions", "rectools_peer", "topic_days", "topn_peers", "ways")


class Modules(click.Group):
    """Commands named like the modules of this folder, with dashes, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all modules but this one."""
        found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_") and name not in SHARED)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The module's `main`; None for an unknown name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"benchmarks.{cmd_name.replace('-', '_')}").main
        return command


@click.group(cls=Modules, help=__doc__)
def main() -> None:
    """Run one of the benchmarks."""


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
