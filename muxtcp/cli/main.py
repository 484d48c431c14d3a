"""The command's words, and which of them does what."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from . import netcat, tunnels
from .usage import Failure, Parser

OTHERS = """
also:
  python -m muxtcp.demo     nine named channels over one socket; they survive a killed server
  python -m muxtcp.bench    throughput and latency beside the raw event loop

Each command has --help, with examples and its exit codes.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    words = parser()
    options = words.parse_args(argv)
    if options.command is None:
        words.print_help()
        return 0
    try:
        options.run(options)
    except Failure as failure:
        print(f"muxtcp {options.command}: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All words of the command."""
    words = Parser(
        prog="muxtcp",
        description=f"muxtcp {version('muxtcp')}: many independent channels over one TCP connection.",
        epilog=OTHERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("--version", action="version", version=f"muxtcp {version('muxtcp')}")
    commands = words.add_subparsers(dest="command", metavar="COMMAND")
    tunnels.add_forward(commands)
    tunnels.add_gateway(commands)
    netcat.add_call(commands)
    netcat.add_serve(commands)
    return words
