"""`gatehouse audit`: take the trail out of a stack, and check that nobody changed it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from gatehouse.audit import rules
from gatehouse.audit.model import Event, Head
from gatehouse_cli.api_access import get_url_and_key
from gatehouse_cli.errors import CommandError

_PAGE = 100


@click.group()
def audit() -> None:
    """Export the audit trail and check its chain of hashes.

    URL and key come from GATEHOUSE_URL and GATEHOUSE_API_KEY, else from .gatehouse/local.env.
    """


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path) -> None:
    """Write the trail to FILE, one event a line, oldest first, and print its head.

    Keep the head somewhere else: with it, `verify --head` also finds what was cut off the end.
    """
    head, events = _fetch()
    lines = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events)
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(lines, encoding="utf-8")
    draft.replace(file)
    click.echo(f"{len(events)} events")
    click.echo(f"head {head.seq}:{head.hash}")


@audit.command()
@click.option(
    "--export",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check this export, without a stack.",
)
@click.option("--head", "kept", metavar="SEQ:HASH", help="A head kept from an earlier export.")
def verify(file: Path | None, kept: str | None) -> None:
    """Check the chain: any edit, deletion, insertion or reordering is named.

    Exit code 1 when the chain does not hold. Events newer than the kept head are checked too.
    """
    wanted = _head_of(kept) if kept else None
    if file is None:
        own, events = _fetch()
        problems = rules.verify(events, own)
        if wanted is not None:
            problems += [found for found in rules.verify(events, wanted) if found not in problems]
    else:
        events = list(_read(file))
        problems = rules.verify(events, wanted)
    for problem in problems:
        where = f"event {problem.seq}" + (f" ({problem.id})" if problem.id else "")
        click.echo(f"{problem.kind}: {where}: {problem.message}")
    if problems:
        raise CommandError(f"The chain does not hold in {len(problems)} places.")
    last = rules.head_after(events)
    click.echo(f"{len(events)} events, the chain holds")
    click.echo(f"head {last.seq}:{last.hash}")


def _fetch() -> tuple[Head, list[Event]]:
    """Read the whole trail over HTTP: the head first, then the events, oldest first.

    The head is the one that was read first, so events written meanwhile only lie beyond it.
    """
    url, key = get_url_and_key()
    headers = {"Authorization": f"Bearer {key}"}
    head: Head | None = None
    events: list[Event] = []
    query: dict[str, Any] = {"limit": _PAGE}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        while True:
            try:
                answer = client.get("/admin/audit", params=query)
            except httpx.HTTPError as error:
                raise CommandError(f"{url} does not answer: {error}") from error
            if answer.status_code != httpx.codes.OK:
                raise CommandError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
            page = answer.json()["data"]
            head = head or Head(page["head"]["seq"], page["head"]["hash"])
            events += page["events"]
            if not page["has_more"]:
                return head, events[::-1]
            query["after"] = page["cursor"]


def _read(file: Path) -> Iterator[Event]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise CommandError(f"{file}, line {number}: not JSON.") from error
        if not isinstance(event, dict):
            raise CommandError(f"{file}, line {number}: not an event.")
        yield event


def _head_of(text: str) -> Head:
    seq, _, digest = text.removeprefix("head ").partition(":")
    if not seq.isdecimal() or not digest:
        raise CommandError("A head is SEQ:HASH, as `gatehouse audit export` prints it.")
    return Head(int(seq), digest)
