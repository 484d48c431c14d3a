"""muxtcp: many independent, flow-controlled channels of messages over one TCP connection."""

__version__ = "0.1.0"
