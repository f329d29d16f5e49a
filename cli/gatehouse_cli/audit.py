"""`gatehouse audit`: export a stack's audit trail and check that it was not changed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from gatehouse.audit import rules
from gatehouse.audit.model import Event, Head, Problem
from gatehouse_cli import export_file, trail
from gatehouse_cli.errors import CommandError
from gatehouse_cli.target import get_target, target_options
from gatehouse_cli.terminal import print_line

_HEAD = re.compile(r"(?:head )?([1-9][0-9]{0,14}):([0-9a-f]{64})", re.ASCII)
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
    """Write the trail to FILE as JSON lines and print its head.

    The oldest event comes first. FILE can be read by its owner only; - is standard output. Store
    the head elsewhere: with it, `verify --head` also detects events that were removed from the
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
    print_line(f"head {found.head.seq}:{found.head.hash}", err=on_the_side)


@audit.command()
@click.option("--export", "file", type=_file, help="Verify this export instead of a stack.")
@click.option("--head", "earlier_head", metavar="SEQ:HASH", help="The head of an earlier export.")
@target_options
def verify(
    file: Path | None, earlier_head: str | None, url: str | None, key_file: Path | None
) -> None:
    """Verify the chain of hashes and print where it is broken.

    It detects every edit, deletion, insertion and reordering, and then exits with 1, as it does
    when there is no event. Without --head the result is marked as unanchored: nobody can see then
    whether the end was cut off or the whole chain was rewritten. Events newer than the head are
    verified too.
    """
    saved = None if earlier_head is None else _head_of(earlier_head)
    if file is None:
        found = trail.fetch(get_target(url, key_file))
        events = found.events
        broken = rules.verify(events, found.head)
        if saved is not None:
            broken += [one for one in rules.verify(events, saved) if one not in broken]
        problems = [_described(one) for one in broken]
    else:
        if url is not None or key_file is not None:
            raise CommandError("--export verifies a file: leave out --url and --key-file.")
        events, problems = _read(file, saved)
    for problem in problems:
        print_line(problem)
    if problems:
        raise CommandError(f"The chain is broken in {len(problems)} places, listed above.")
    if not events:
        raise CommandError("There is nothing to verify: the trail has no events.")
    last = rules.head_after(events)
    print_line(f"{len(events)} events, the chain is intact")
    if saved is None:
        print_line("unanchored: --head was not given, so a cut end or a new chain is not detected")
    print_line(f"head {last.seq}:{last.hash}")


def _read(file: Path, saved: Head | None) -> tuple[list[Event], list[str]]:
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
    for one in rules.verify(events, saved):
        line_number = numbers[one.position - 1] if one.position else None
        problems.append(_described(one, line_number))
    return events, problems


def _lines(file: Path) -> list[bytes]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} cannot be read: {error}.") from error
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _described(problem: Problem, line: int | None = None) -> str:
    where = f"line {line}: " if line else ""
    name = f" ({problem.id})" if problem.id else ""
    return f"{problem.kind}: {where}event {problem.seq}{name}: {problem.message}"


def _head_of(text: str) -> Head:
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise CommandError("--head must be SEQ:HASH, as `gatehouse audit export` prints it.")
    return Head(int(found[1]), found[2])
