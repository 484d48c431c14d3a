"""`muxtcp forward` and `muxtcp gateway`."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import muxtcp
from muxtcp.forward import AllowList, Endpoint, Forwarder, Forwarding, Gateway, ListenRefused
from muxtcp.forward.carrier import Carrier
from muxtcp.forward.traffic import TICK, Link, Traffic

from .peers import TOKEN_VARIABLE, Door, add_dialling, add_serving, dialled
from .usage import (
    CANNOT_LISTEN,
    EXIT_CODES,
    USAGE,
    Failure,
    count,
    in_words,
    logged,
    parsed_by,
    run,
    seconds,
    until_signalled,
)

MEMORY = 256 << 20  # bytes that one side may hold unread of a session, unless told otherwise
LEAST_WINDOW = 16 << 10
RESUME, LONGEST_RESUME = 30.0, 120.0  # seconds

FORWARD = f"""
examples:
  muxtcp forward gw:7700 -L 5432:db:5432                      as ssh -L: localhost:5432 here is db:5432 there
  muxtcp forward gw:7700 -R 8080:localhost:80                 as ssh -R: port 8080 of the gateway is port 80 here
  muxtcp forward tls://gw:7700 -D 1080 --token-file token     a SOCKS 5 proxy
  muxtcp forward gw:7700 -L /run/pg/.s.PGSQL.5432:/run/postgresql/.s.PGSQL.5432 --resume

The token is read from --token-file, else from the variable {TOKEN_VARIABLE}. The gateway has to allow each target.
{EXIT_CODES}"""
GATEWAY = f"""
examples:
  muxtcp gateway 127.0.0.1:7700 --allow db:5432
  muxtcp gateway tls://0.0.0.0:7700 --tls-cert cert.pem --tls-key key.pem --token-file tokens --allow 10.0.0.0/8:5432
  muxtcp gateway 127.0.0.1:7700 --allow-file allow.conf --allow-listen localhost:8000-8099

A rule is host:port: a name, *.domain, an address, a network or * for any; a port, a range or *. Or a /path. The file
has `allow RULE` or `listen RULE` on each line, and is read again at SIGHUP, as are tokens and certificate.
{EXIT_CODES}"""

if TYPE_CHECKING:
    from .display import Display

logger = logging.getLogger(__name__)


def add_forward(commands: Any) -> None:
    """The words of `muxtcp forward`."""
    parser = commands.add_parser(
        "forward",
        help="carry TCP connections to a gateway, and from it",
        description="Carry TCP connections over one link to a gateway, as ssh -L, -R and -D do.",
        epilog=FORWARD,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forwarding, listening = parsed_by(Forwarding.parse), parsed_by(Endpoint.listening)
    add = parser.add_argument
    add_dialling(parser, "gateway")
    add("-L", dest="local", type=forwarding, action="append", default=[], metavar="[BIND:]PORT:HOST:PORT",
        help="listen here, connect there; a /path in place of either half is a Unix socket")  # fmt: skip
    add("-R", dest="remote", type=forwarding, action="append", default=[], metavar="[BIND:]PORT:HOST:PORT",
        help="listen there, connect here")  # fmt: skip
    add("-D", dest="socks", type=listening, action="append", default=[], metavar="[BIND:]PORT",
        help="a SOCKS 5 proxy here, whose targets are reached from there")  # fmt: skip
    add("--resume", type=seconds, nargs="?", const=RESUME, metavar="SECONDS",
        help="carried connections survive a broken link for so long (%(const)g unless given)")  # fmt: skip
    add("--give-up", type=seconds, metavar="SECONDS", help="end after so long without a link; default: never")
    _add_common(parser)
    parser.set_defaults(run=_forward)


def add_gateway(commands: Any) -> None:
    """The words of `muxtcp gateway`."""
    parser = commands.add_parser(
        "gateway",
        help="connect to what forwarders ask for, if it is allowed",
        description="The other end of `muxtcp forward`. It allows nothing unless told to.",
        epilog=GATEWAY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_serving(parser)
    add("--allow", action="append", default=[], metavar="RULE", help="clients may connect to this; many are possible")
    add("--allow-listen", action="append", default=[], metavar="RULE", help="clients may listen on this, with -R")
    add("--allow-file", type=Path, metavar="FILE", help="more of both, read again at SIGHUP")
    add("--resume", type=seconds, default=120.0, metavar="SECONDS",
        help="the most for which a session may survive a broken link, at most 120 (default %(default)g)")  # fmt: skip
    _add_common(parser)
    parser.set_defaults(run=_gateway)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-connections", type=count, default=2_048, metavar="N", help="carried at once (default %(default)s)")
    add("--drain-timeout", type=seconds, default=30.0, metavar="SECONDS",
        help="that open connections have at SIGTERM (default %(default)g); a second signal ends at once")  # fmt: skip
    add("--plain", action="store_true", help="log lines, also on a terminal")


def _config(max_connections: int) -> muxtcp.Config:
    """Limits for many carried connections: those that nobody reads must not hold up the others.

    So there is memory for each to be full with the window that it begins with. Local programs may connect and leave as
    fast as they like, which is no fault of the peer's.
    """
    window = max(LEAST_WINDOW, MEMORY // max_connections)
    return muxtcp.Config(
        channel_window=window,
        memory_limit=window * max_connections,
        max_channels=max_connections + 64,  # beside those that carry nothing
        glitch_burst=100_000,
        glitch_rate=10_000.0,
    )


# muxtcp forward


def _forward(options: argparse.Namespace) -> None:
    if not (options.local or options.remote or options.socks):
        raise Failure("nothing to forward: give -L, -R or -D", USAGE)
    connect = partial(
        dialled(options, options.gateway),
        config=_config(options.max_connections),
        resume=options.resume or None,
        backoff=muxtcp.exponential(0.5, 10.0),
        max_elapsed=options.give_up,
    )
    run(_forwarding(options, connect))


async def _forwarding(options: argparse.Namespace, connect: Callable[..., muxtcp.Connector]) -> None:
    link = Link(options.gateway)

    def retry(error: Exception) -> bool:
        """An unknown host is a slip of the pen at first, and bad weather once it has been known."""
        return muxtcp.worth_retrying(error) and (link.sessions > 0 or not isinstance(error, socket.gaierror))

    forwarder = Forwarder(
        partial(connect, retry=retry),
        local=[*options.local, *(Forwarding(place, None) for place in options.socks)],
        remote=options.remote,
        carrier=Carrier(options.max_connections),
        link=link,
    )
    async with _shown(options, partial(_of_forwarder, forwarder)), AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(forwarder)
        except OSError as error:
            raise Failure(in_words(error), CANNOT_LISTEN) from error
        drain = partial(forwarder.drain, options.drain_timeout)
        try:
            await until_signalled(forwarder.run(), drain, forwarder.abort)
        except ListenRefused as error:
            raise Failure(str(error), CANNOT_LISTEN) from error


def _of_forwarder(forwarder: Forwarder) -> "Status":
    link = forwarder.link
    rtt = forwarder.rtt
    facts = [f"rtt {rtt * 1_000:.1f} ms"] if rtt is not None else []
    if link.sessions > 1:
        facts.append(f"reconnects {link.sessions - 1:,}")
    if link.resumptions:
        facts.append(f"{link.resumptions:,} resumed, longest gap {link.longest_gap:.1f} s")
    if link.detail and link.state != "connected":
        facts.append(link.detail)
    return Status(f"muxtcp forward {link.name}", link.state, "  ".join(facts), forwarder.traffic)


# muxtcp gateway


def _gateway(options: argparse.Namespace) -> None:
    if options.resume > LONGEST_RESUME:
        raise Failure(f"--resume is {options.resume:g} s, not at most {LONGEST_RESUME:g}", USAGE)
    run(_serving(options, Door(options)))


def _allow_list(options: argparse.Namespace) -> AllowList:
    try:
        allow = AllowList.of(options.allow, options.allow_listen)
        return allow if options.allow_file is None else allow + AllowList.read(options.allow_file)
    except (ValueError, OSError) as error:
        raise Failure(str(error), USAGE) from error


async def _serving(options: argparse.Namespace, door: Door) -> None:
    serve = partial(door.serve, config=_config(options.max_connections), resume=options.resume)
    gateway = Gateway(serve, _allow_list(options), carrier=Carrier(options.max_connections))

    def reload() -> None:
        try:
            allow = _allow_list(options)
            door.reload()
        except Failure as error:
            logger.error("not reloaded, all stays as it was: %s", error)
            return
        gateway.allow = allow
        logger.info("reloaded: %d rules for targets, %d for listening", len(allow.targets), len(allow.binds))

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    async with _shown(options, partial(_of_gateway, gateway)), AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(gateway)
        except OSError as error:
            raise Failure(in_words(error), CANNOT_LISTEN) from error
        if not (gateway.allow.targets or gateway.allow.binds):
            logger.warning("nothing is allowed: see --allow, --allow-listen and --allow-file")
        await until_signalled(gateway.wait_closed(), partial(gateway.drain, options.drain_timeout), gateway.abort)


def _of_gateway(gateway: Gateway) -> "Status":
    clients, carried = len(gateway.sessions), sum(row.open for row in gateway.traffic)
    title = " ".join(["muxtcp gateway", *gateway.addresses])
    state = "serving" if gateway.addresses else "draining"
    return Status(title, state, f"clients {clients:,}  connections {carried:,}", gateway.traffic)


# The display


class Status(NamedTuple):
    """What there is to be shown."""

    title: str
    state: str
    facts: str
    rows: Sequence[Traffic]


@asynccontextmanager
async def _shown(options: argparse.Namespace, status: Callable[[], Status]) -> AsyncIterator[None]:
    """Show the status where there is a terminal and rich, with the log above it; else only the log."""
    if options.plain or not sys.stderr.isatty() or find_spec("rich") is None:
        with logged(logging.StreamHandler(sys.stderr), verbose=options.verbose):
            yield
        return
    from .display import Display

    with Display(sys.stderr) as display, logged(display.handler, verbose=options.verbose):
        showing = asyncio.create_task(_keep_showing(display, status))
        try:
            yield
        finally:
            showing.cancel()
            display.show(status())


async def _keep_showing(display: "Display", status: Callable[[], Status]) -> None:
    while True:
        now = status()
        for row in now.rows:
            row.tick()
        display.show(now)
        await asyncio.sleep(TICK)
