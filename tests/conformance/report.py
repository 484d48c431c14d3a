"""What came of the plays: a table by section, and for each failure what was sent, expected and heard."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, Literal

from conformance.plays import Play
from conformance.rules import RULES, SECTIONS
from support import frames
from support.frames import PREFACE
from support.raw import RawPeer

Verdict = Literal["pass", "FAIL", "not tried"]
LAST = 12  # entries of a connection that a failure shows
SHOWN = 32  # bytes of each in hex
FRAMES = 8  # of each in words
WIDTH = 400  # characters of what was expected, and came instead


@dataclass
class Result:
    play: Play
    verdict: Verdict
    expected: str = ""
    came: str = ""
    connections: list[list[str]] = field(default_factory=list)  # what went over each, a line an entry
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        play = self.play
        told = {name: value for name, value in vars(self).items() if name != "play" and value}
        return {"name": play.name, "role": play.role, "kind": play.kind, "musts": play.musts, **told}


# --- what went over a connection --------------------------------------------------------------------------------------


def transcript(peer: RawPeer) -> list[str]:
    """The last entries, in hex and decoded."""
    told = [
        f"{'sent' if by == 'peer' else 'came'}  {shown(b''.join(said.data for said in group))}"
        for by, group in groupby(peer.said, key=lambda said: said.by)
    ]
    return [f"({len(told) - LAST} entries before)", *told[-LAST:]] if len(told) > LAST else told


def shown(data: bytes) -> str:
    more = f" ... ({len(data):,} bytes)" if len(data) > SHOWN else ""
    told = list(islice(decoded(data), FRAMES + 1))
    return f"{data[:SHOWN].hex(' ')}{more} = {'; '.join(told[:FRAMES])}{'; ...' if len(told) > FRAMES else ''}"


def decoded(data: bytes) -> Iterator[str]:
    """The frames of `data` in words, as far as they can be read."""
    at = 0
    if data.startswith(PREFACE):
        yield "preface"
        at = len(PREFACE)
    while at < len(data):
        try:
            item, at = frames.take_frame(data, at)
        except (frames.NeedMore, frames.Violation, ValueError) as error:
            yield f"[{error!r}]"
            return
        yield words(item)


def words(item: frames.Frame) -> str:
    name = item.kind.name if item.channel else "record"
    try:
        fields = dict(item.fields)
    except (frames.Violation, ValueError) as error:
        return f"{name} on {item.channel} [{error}]"
    name = fields.pop("record", f"{name} on {item.channel}")
    told = [f"{key}={brief(value)}" for key, value in fields.items() if not usual(key, value)]
    return " ".join([name, *told])


def usual(key: str, value: object) -> bool:
    """Whether it goes without saying."""
    return value in ("", b"", {}, None) or frames.DEFAULTS.get(key) == value


def brief(value: object) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes) and len(value) > 16 else repr(value)


def cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} ..."


def failure(result: Result) -> Iterator[str]:
    play = result.play
    yield f"{result.verdict}  {play}  ({play.kind}; {', '.join(play.musts)})"
    yield f"      expected  {cut(result.expected)}"
    yield f"      came      {cut(result.came)}"
    for number, lines in enumerate(result.connections, 1):
        yield f"      connection {number}:"
        yield from (f"        {line}" for line in lines)


# --- the table --------------------------------------------------------------------------------------------------------


def count(results: Iterable[Result]) -> str:
    tried = [result for result in results if result.verdict != "not tried"]
    return f"{sum(result.verdict == 'pass' for result in tried)}/{len(tried)}" if tried else "-"


def verdict(results: list[Result]) -> str:
    verdicts = {result.verdict for result in results}
    return next((name for name in ("FAIL", "pass", "not tried") if name in verdicts), "-")


def of(results: list[Result], prefix: str, kind: str | None = None) -> list[Result]:
    """Those about a rule, or about any of a section."""
    return [
        result
        for result in results
        if kind in (None, result.play.kind)
        and any(must == prefix or must.startswith(f"{prefix}-") for must in result.play.musts)
    ]


def table(results: list[Result]) -> Iterator[str]:
    """A row for each rule that was played, and a line for each section."""
    for letter, section in SECTIONS.items():
        rules = [rule for rule in RULES if rule[0] == letter and of(results, rule)]
        if not rules:
            continue
        yield f"{section:<54}{'right':>8}{'wrong':>8}  verdict"
        for rule in rules:
            yield row(f"  {rule:<6}{RULES[rule].what}", of(results, rule))
        passed = sum(verdict(of(results, rule)) == "pass" for rule in rules)
        yield row(f"  {passed} of {len(rules)} rules", of(results, letter))
        yield ""


def row(what: str, results: list[Result]) -> str:
    right, wrong = (count(result for result in results if result.play.kind == kind) for kind in ("right", "wrong"))
    return f"{what:<54}{right:>8}{wrong:>8}  {verdict(results)}"


def summary(title: str, results: list[Result], seconds: float) -> str:
    rules = [rule for rule in RULES if of(results, rule)]
    failed = [rule for rule in rules if verdict(of(results, rule)) == "FAIL"]
    told = f"{title}: {len(rules) - len(failed)} of {len(rules)} rules, {count(results)} plays, {seconds:.1f} s"
    return f"{told}; red: {' '.join(failed)}" if failed else told
