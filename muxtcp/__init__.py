"""Many independent, flow-controlled channels of messages over one TCP connection.

Example:
    async with muxtcp.serve(handler, "127.0.0.1", 7777):  # handler(channel) for each incoming channel
        async with muxtcp.connect("127.0.0.1", 7777) as session:
            async with session.open("echo") as channel:
                await channel.send(b"hello")
                print(await channel.recv())
"""

from muxtcp.attempt import worth_retrying
from muxtcp.authentication import Credentials, same_secret
from muxtcp.backoff import constant, exponential, fibonacci
from muxtcp.client import Connector, connect
from muxtcp.config import Config
from muxtcp.errors import (
    ChannelClosed,
    ChannelError,
    ChannelRefused,
    ChannelReset,
    Code,
    CodecError,
    EndOfStream,
    HandshakeError,
    LocalProtocolError,
    MessageTooLarge,
    MuxError,
    ProtocolError,
    ReconnectFailed,
    RemoteProtocolError,
    SessionClosed,
    SessionLost,
)
from muxtcp.runner import run
from muxtcp.server import Server, serve
from muxtcp.session import Channel, ChannelListener, MemoryBudget, Priority, Session, process_budget
from muxtcp.states import State, StateInfo
from muxtcp.streams import ChannelServer, as_stream
from muxtcp.transport import ChannelTransport, as_transport

__version__ = "0.1.0"

__all__ = [
    "Channel",
    "ChannelClosed",
    "ChannelError",
    "ChannelListener",
    "ChannelRefused",
    "ChannelReset",
    "ChannelServer",
    "ChannelTransport",
    "Code",
    "CodecError",
    "Config",
    "Connector",
    "Credentials",
    "EndOfStream",
    "HandshakeError",
    "LocalProtocolError",
    "MemoryBudget",
    "MessageTooLarge",
    "MuxError",
    "Priority",
    "ProtocolError",
    "ReconnectFailed",
    "RemoteProtocolError",
    "Server",
    "Session",
    "SessionClosed",
    "SessionLost",
    "State",
    "StateInfo",
    "as_stream",
    "as_transport",
    "connect",
    "constant",
    "exponential",
    "fibonacci",
    "process_budget",
    "run",
    "same_secret",
    "serve",
    "worth_retrying",
]
