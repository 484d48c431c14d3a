"""python -m muxtcp: what can be run."""

import sys
from importlib.metadata import version

USAGE = """muxtcp {version}: many independent channels of messages over one TCP connection

commands:
  python -m muxtcp.demo     nine named channels over one socket; they survive a killed server
  python -m muxtcp.bench    throughput and latency beside the raw event loop

Each has --help.
"""


def main(argv: list[str]) -> int:
    """Print what there is; the exit code: 2 for an argument, which none of it takes."""
    if argv and argv != ["--help"]:
        print(f"python -m muxtcp takes no arguments, not {' '.join(argv)!r}; see --help", file=sys.stderr)
        return 2
    print(USAGE.format(version=version("muxtcp")), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
