"""Attack a server in every known way, and see what an honest client notices: `python tests/adversity/attacks`.

Each attack has a server of its own. An honest client measures its throughput and its latency before the attack and
while it lasts; then the table says what it kept. docs/attacks.md says what the attacks do, and how to read the table.
The exit code is 1 if a promise is broken.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `adversity` and `support`, as pytest does

from adversity.attacks.report import show
from adversity.attacks.table import ATTACKS, as_markdown
from adversity.attacks.trial import Result, Trial
from support import loops


def measured(name: str, loop: str, seconds: float, tries: int) -> Result:
    """What came of an attack; one that was not held is tried again, for a busy machine breaks promises, too."""
    result = Trial(ATTACKS[name], loop, seconds).run()
    return measured(name, loop, seconds, tries - 1) if result.findings and tries > 1 else result


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python tests/adversity/attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each attack (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ATTACKS, default=list(ATTACKS), help="these alone")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop", help="of server and victim (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print an object a line instead of the table")
    parser.add_argument("--tries", type=int, default=1, help="of an attack before it counts as not held (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="print the table of docs/attacks.md, and attack nobody")
    options = parser.parse_args()
    if options.docs:
        print(as_markdown())
        return
    results = []
    for name in options.only:
        results.append(measured(name, options.loop, options.seconds, options.tries))
        if options.json:
            print(json.dumps(results[-1].as_json()), flush=True)
        else:
            print(f"{name}: {', '.join(results[-1].findings) or 'held'}", file=sys.stderr)
    if not options.json:
        show(results)
    sys.exit(any(result.findings for result in results))


if __name__ == "__main__":
    main()
