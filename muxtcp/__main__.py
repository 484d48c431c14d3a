"""python -m muxtcp: the `muxtcp` command."""

import sys

from muxtcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
