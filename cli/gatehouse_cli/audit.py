"""`gatehouse audit`: export a stack's audit trail and check that it was not changed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from gatehouse.audit import rules
from gatehouse.audit.model import Event, Head
from gatehouse_cli import export_file, trail
from gatehouse_cli.errors import CommandError, OptionError, reason
from gatehouse_cli.target import get_target, target_options
from gatehouse_cli.terminal import print_line

_HEAD = re.compile(r"(?:head )?(?:([a-z]+):)?([1-9][0-9]{0,14}):([0-9a-f]{64})", re.ASCII)
_file = click.Path(allow_dash=True, path_type=Path)


@click.group()
def audit() -> None:
    """Export the audit trail and verify its chain of hashes.

    URL and key come both from --url and --key-file, or both from GATEHOUSE_URL and
    GATEHOUSE_API_KEY, or both from .gatehouse/local.env.
    """


@audit.command()
@click.argument("file", type=_file)
@target_options
def export(file: Path, url: str | None, key_file: Path | None) -> None:
    """Write the trail to FILE as JSON lines and print its heads.

    The oldest event comes first. FILE can be read by its owner only; - is standard output. Store
    the heads elsewhere: with them, `verify --head` also detects events that were removed from the
    end.
    """
    target = get_target(url, key_file)
    export_file.check(file)
    found = trail.fetch(target)
    lines = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in found.events)
    export_file.write(file, lines)
    # What is not the export itself must not get into the same pipe.
    on_the_side = file == export_file.STANDARD_OUTPUT
    print_line(f"{len(found.events)} events", err=on_the_side)
    _print_heads(found.heads, err=on_the_side)


@audit.command()
@click.option("--export", "file", type=_file, help="Verify this export instead of a stack.")
@click.option(
    "--head",
    "saved",
    multiple=True,
    metavar="HEAD",
    help="A head, as an earlier export printed it.",
)
@target_options
def verify(
    file: Path | None, saved: tuple[str, ...], url: str | None, key_file: Path | None
) -> None:
    """Verify the chains of hashes and print where they are broken.

    It detects every edit, deletion, insertion and reordering, and then exits with 1, as it does
    when there is no event. A chain without --head is reported as unanchored: the command cannot
    detect that its end was cut off or that all of it was rewritten. Events newer than a head are
    verified too. --head takes one head, or several on lines of their own, and may be repeated.
    """
    heads = _heads_of(saved)
    if file is None:
        found = trail.fetch(get_target(url, key_file))
        events = found.events
        problems = _problems(events, found.heads)
        problems += [one for one in _problems(events, heads) if one not in problems]
    else:
        if url is not None or key_file is not None:
            raise OptionError("--export verifies a file: leave out --url and --key-file.")
        events, problems = _read(file, heads)
    for problem in problems:
        print_line(problem)
    if problems:
        places = "1 place" if len(problems) == 1 else f"{len(problems)} places"
        raise CommandError(f"The trail is broken in {places}, listed above.")
    if not events:
        raise CommandError("There is nothing to verify: the trail has no events.")
    chains = _chains(events)
    intact = "the chain is intact" if len(chains) == 1 else f"{len(chains)} chains are intact"
    print_line(f"{len(events)} events, {intact}")
    for chain in chains:
        if chain not in heads:
            print_line(
                f"unanchored: no --head for {chain}; a cut end or a new chain is not detected"
            )
    _print_heads(
        {name: rules.head_after([event for event, _ in chain]) for name, chain in chains.items()}
    )


def _chains(
    events: list[Event], lines: list[int] | None = None
) -> dict[str, list[tuple[Event, int | None]]]:
    """Return the events of each chain by its name, with the line of each where it has one."""
    chains: dict[str, list[tuple[Event, int | None]]] = {}
    for position, event in enumerate(events):
        line = None if lines is None else lines[position]
        chains.setdefault(trail.chain_of(event), []).append((event, line))
    return chains


def _problems(
    events: list[Event], heads: dict[str, Head], lines: list[int] | None = None
) -> list[str]:
    """Verify each chain, also one that has a head and no event any more."""
    chains = _chains(events, lines)
    problems = []
    for name in dict.fromkeys([*chains, *heads]):
        chain = chains.get(name, [])
        for one in rules.verify([event for event, _ in chain], heads.get(name)):
            line = chain[one.position - 1][1] if one.position else None
            where = (f"line {line}: " if line else "") + ("" if name == trail.MAIN else f"{name} ")
            title = f" ({one.id})" if one.id else ""
            problems.append(f"{one.kind}: {where}event {one.seq}{title}: {one.message}")
    return problems


def _print_heads(heads: dict[str, Head], *, err: bool = False) -> None:
    """Print the head of each chain that has events. The administration chain comes last."""
    for name in sorted(heads, key=lambda name: (name == trail.MAIN, name)):
        if heads[name].seq or name == trail.MAIN:
            prefix = "" if name == trail.MAIN else f"{name}:"
            print_line(f"head {prefix}{heads[name].seq}:{heads[name].hash}", err=err)


def _read(file: Path, heads: dict[str, Head]) -> tuple[list[Event], list[str]]:
    """Return the events of an export, and each problem of it with its line."""
    events: list[Event] = []
    problems: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            events.append(trail.read_event(line))
            numbers.append(number)
        except trail.InvalidEventError as error:
            problems.append(f"invalid: line {number}: {error}")
    return events, problems + _problems(events, heads, numbers)


def _lines(file: Path) -> list[bytes]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} cannot be read: {reason(error)}.") from error
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _heads_of(texts: tuple[str, ...]) -> dict[str, Head]:
    """Read heads as an export prints them, by the name of their chain."""
    heads = {}
    for line in [line for text in texts for line in text.strip().split("\n")]:
        found = _HEAD.fullmatch(line.strip())
        if found is None:
            raise OptionError("--head must be a head as `gatehouse audit export` prints it.")
        heads[found[1] or trail.MAIN] = Head(int(found[2]), found[3])
    return heads
