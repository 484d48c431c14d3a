"""Every rule of docs/PROTOCOL.md in a few words, and what of it cannot be played, with the reason."""

from dataclasses import dataclass, field

SECTIONS = {
    "F": "Numbers and frames",
    "R": "Records on channel 0",
    "H": "Preface and handshake",
    "C": "Channel ids",
    "O": "Opening",
    "M": "Messages",
    "K": "Credit",
    "L": "The life of a channel",
    "E": "End",
    "S": "Resumption",
}


@dataclass(frozen=True)
class Rule:
    """What a row of the table is about.

    Attributes:
        what: the rule in a few words.
        unplayed: why there is no play of a kind, or in a role, or of a kind in a role ("wrong client").
    """

    what: str
    unplayed: dict[str, str] = field(default_factory=dict)


SILENCE = "who does not do it breaks the rule by silence, which is no error"
OWN = "a rule for what one does oneself: another's breach cannot be seen"
IGNORED = "what is to be ignored breaks nothing"
RULES = {
    "F-1": Rule("numbers in their shortest form"),
    "F-2": Rule("numbers no longer than their field"),
    "F-3": Rule("text is UTF-8"),
    "F-4": Rule("a length holds its tag"),
    "F-5": Rule("frames within max_frame"),
    "F-6": Rule("kind 7 is nobody's"),
    "F-7": Rule("kind 0 on channel 0"),
    "F-8": Rule("payloads neither short nor long"),
    "F-9": Rule("records within 4,096 bytes"),
    "R-1": Rule("records are known ones"),
    "R-2": Rule("PING is answered", {"wrong": SILENCE}),
    "R-3": Rule("PONG answers a PING"),
    "H-1": Rule("the preface comes first"),
    "H-2": Rule("HELLO, then its answer"),
    "H-3": Rule("nothing between HELLO and WELCOME", {
        "right server": "it binds clients", "wrong client": "it binds clients",
    }),
    "H-4": Rule("the handshake is said once"),
    "H-5": Rule("a handshake is small and quick"),
    "H-6": Rule("parameters in order, none twice"),
    "H-7": Rule("unknown parameters are ignored", {"wrong": IGNORED}),
    "H-8": Rule("parameters within their ranges"),
    "H-9": Rule("the highest common version"),
    "C-1": Rule("odd ids by clients, even by servers"),
    "C-2": Rule("ids are consecutive"),
    "C-3": Rule("ids are never reused"),
    "C-4": Rule("frames on channels that were opened"),
    "C-5": Rule("no more channels than allowed"),
    "C-6": Rule("CHANNEL_CREDIT rises, up to 2^53"),
    "O-1": Rule("names and payloads of OPEN are small"),
    "O-2": Rule("OPEN is whole, its flags are known"),
    "O-3": Rule("unknown typed fields are ignored", {"wrong": IGNORED}),
    "O-4": Rule("a half that never was is finished"),
    "M-1": Rule("a PART has 1,024 bytes"),
    "M-2": Rule("messages within max_message"),
    "M-3": Rule("no FINISH inside a message"),
    "M-4": Rule("nothing after FINISH"),
    "K-1": Rule("credit for the whole message first", {"wrong": "credit that is missing at the end is K-2"}),
    "K-2": Rule("no data beyond the limits"),
    "K-3": Rule("limits never fall"),
    "K-4": Rule("limits up to 2^53"),
    "K-5": Rule("discarded data gives its credit back", {"wrong": SILENCE}),
    "K-6": Rule("who is blocked gets a higher limit"),
    "K-7": Rule("who is blocked says so", {"wrong": SILENCE}),
    "L-1": Rule("FINISH once"),
    "L-2": Rule("RESET is answered", {"wrong": SILENCE}),
    "L-3": Rule("after RESET, the rest is discarded"),
    "L-4": Rule("nothing on a channel that has ended"),
    "E-1": Rule("after GOAWAY nothing is opened", {"wrong": "what comes too late may have been on its way: E-2"}),
    "E-2": Rule("what comes too late is ignored", {"wrong": IGNORED}),
    "E-3": Rule("GOAWAY may only lower its last channel"),
    "E-4": Rule("a violation ends all", {"right": "it is about violations"}),
    "E-5": Rule("a loss is no end", {"wrong": "a stream may end anywhere"}),
    "S-1": Rule("no more time than was wished, and with a ticket", {"wrong server": "it binds servers"}),
    "S-2": Rule("the secret is checked", {"wrong server": "a client says nothing that could be checked yet"}),
    "S-3": Rule("RESUME, then its answer", {"wrong client": "it binds clients"}),
    "S-4": Rule("a bad RESUME disturbs nobody", {"wrong client": "nobody sends a client a RESUME: S-13"}),
    "S-5": Rule("the old connection is fenced", {
        "wrong": "two connections at once are no error", "right client": "the client itself leaves the old connection",
    }),
    "S-6": Rule("nothing before the proof"),
    "S-7": Rule("positions are compared"),
    "S-8": Rule("what is lacking goes first", {"wrong": "frames in another order are other frames: S-7"}),
    "S-9": Rule("ACK of what was sent"),
    "S-10": Rule("what was received is acknowledged", {"wrong": SILENCE}),
    "S-11": Rule("a full log waits and forgets nothing", {"wrong": OWN}),
    "S-12": Rule("END, or it is a break"),
    "S-13": Rule("resumption in its place and form"),
}  # fmt: skip
