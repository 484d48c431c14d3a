"""TCP connections through one link: what `muxtcp forward` and `muxtcp gateway` do.

A `Forwarder` accepts connections and carries each in a channel to a `Gateway`, which dials where the channel's opener
wants to go, if its `AllowList` lets it (`-L`, and `-D` for SOCKS clients). With `-R` the gateway accepts, and the
forwarder dials.

The channels are named, with text in their `meta`, and either peer may be written in another language:

    connect   to the gateway: to="db:5432" or to="/run/db.sock". It answers with an empty message once it is connected.
    listen    to the gateway: at="localhost:8080", id="1". It answers with the place it listens on, in a message, and
              listens for as long as the channel is open.
    accepted  from the gateway: id="1" of that channel, from="192.0.2.7:4711". Answered as `connect` is.

Each message is bytes of the carried connection, in order; how they are cut means nothing. FINISH is the FIN of either
side, a reset the RST, with a code from `Fault` or a refusal.
"""

from .allow import AllowList, Forbidden
from .endpoints import Endpoint, Forwarding
from .forwarder import Forwarder, ListenRefused
from .gateway import Gateway

__all__ = ["AllowList", "Endpoint", "Forbidden", "Forwarder", "Forwarding", "Gateway", "ListenRefused"]
