"""All plays."""

from conformance import behaviour, resuming, resuming_client, resuming_server, tables
from conformance.plays import PLAYS

__all__ = ["PLAYS", "behaviour", "resuming", "resuming_client", "resuming_server", "tables"]
