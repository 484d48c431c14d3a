"""muxtcp for browsers: `static/muxtcp.js`, a client in JavaScript, for browsers and Node 20 or newer."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""The folder of the JavaScript module: `muxtcp.js`, its types, and the parts that it imports."""
