"""muxtcp for browsers: a site that serves sessions over WebSockets, and a client in JavaScript.

    async with muxtcp.web.serve_web(handler, "0.0.0.0", 8080, static="page") as site:
        await site.wait_closed()

In the page: `import { connect } from "./muxtcp/muxtcp.js"`. Needs the extra `web`.
"""

from pathlib import Path

from .site import Site, serve_web

STATIC = Path(__file__).parent / "static"
"""The folder of the JavaScript module: `muxtcp.js`, its types, and the parts that it imports."""

__all__ = ["STATIC", "Site", "serve_web"]
