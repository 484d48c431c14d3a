"""Try an implementation of docs/PROTOCOL.md from outside: see docs/conformance.md.

    python tests/conformance --server tcp://127.0.0.1:7000
    python tests/conformance --client --listen 127.0.0.1:0 --run "./my-client {host} {port}"
    python tests/conformance                          muxtcp itself: both roles, on asyncio and uvloop
    python tests/conformance --only S-4 --only K -v   some rules or sections, or what a play is called

Exit code: 0 every play passed, 1 one failed, 2 the implementation was not there, or went away.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance import report
from conformance.runner import Tried, client, play_all, server, subject
from conformance.stand import ROLES, Gone
from conformance.suite import chosen
from support.loops import NAMES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", metavar="ADDRESS", help="the test service listens there, as tcp://host:port")
    parser.add_argument("--client", action="store_true", help="the test service dials")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="where to (%(default)s)")
    parser.add_argument("--run", metavar="COMMAND", help="what makes it dial; {host} and {port} are filled in")
    parser.add_argument("--role", choices=ROLES, help="of muxtcp itself; both unless given")
    parser.add_argument("--loop", choices=NAMES, help="of muxtcp itself; both unless given")
    parser.add_argument("--subject", metavar="PROGRAM", type=Path, help="in place of tests/conformance/subject.py")
    parser.add_argument("--only", metavar="WHAT", action="append", default=[], help="S-4, S, or a part of a name")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=5.0, help="for an answer (%(default)s)")
    parser.add_argument("--lenient", action="store_true", help="note it if a SHOULD is not followed; it is no failure")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there")
    parser.add_argument("--list", action="store_true", help="show the plays, and try nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each play as it passes or fails")
    given = parser.parse_args()
    if given.client and given.server:
        parser.error("--server and --client are two runs")
    return given


def tried(given: argparse.Namespace) -> list[Tried]:
    """What the arguments ask to be tried."""
    how = {"strict": not given.lenient, "patience": given.patience}
    if given.server:
        return [server(given.server, **how)]
    if given.client:
        return [client(given.listen, given.run, **how)]
    loops = [given.loop] if given.loop else NAMES
    roles = [given.role] if given.role else ROLES
    return [subject(role, loop, given.subject, **how) for loop in loops for role in roles]


def show(results: list[report.Result], title: str, seconds: float) -> None:
    print(f"\n{title}\n")
    print("\n".join(report.table(results)))
    for result in results:
        if result.verdict == "FAIL":
            print("\n".join(report.failure(result)))
        for note in result.notes:
            print(f"note  {result.play}: {note}")
    print(report.summary(title, results, seconds), flush=True)


def main() -> int:
    given = arguments()
    if given.list:
        for play in chosen(given.only, ROLES):
            print(f"{' '.join(play.musts):<28} {play.kind:<6} {play}")
        return 0
    written, lines, worst = [], [], 0
    for it in tried(given):
        plays = chosen(given.only, [it.role])
        try:
            results, seconds = asyncio.run(play_all(it, plays, verbose=given.verbose))
        except (OSError, EOFError, Gone, TimeoutError) as error:
            print(f"{it.title}: {str(error) or type(error).__name__}", file=sys.stderr)
            return 2
        show(results, it.title, seconds)
        lines.append(report.summary(it.title, results, seconds))
        written.append({"title": it.title, "role": it.role, "plays": [result.as_json() for result in results]})
        worst = max(worst, any(result.verdict == "FAIL" for result in results))
    if len(lines) > 1:
        print("\n" + "\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps(written, indent=1) + "\n")
    return worst


if __name__ == "__main__":
    sys.exit(main())
