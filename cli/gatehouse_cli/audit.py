"""`gatehouse audit`: export a stack's audit trail and check that it was not changed."""

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
    """Export the audit trail and verify its chain of hashes.

    URL and key are read from GATEHOUSE_URL and GATEHOUSE_API_KEY, else from
    .gatehouse/local.env.
    """


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path) -> None:
    """Write the trail to FILE as JSON lines and print its head.

    The oldest event comes first. Store the head elsewhere: with it, `verify --head` also detects
    events that were removed from the end.
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
    help="Verify this export instead of a stack.",
)
@click.option("--head", "earlier_head", metavar="SEQ:HASH", help="The head of an earlier export.")
def verify(file: Path | None, earlier_head: str | None) -> None:
    """Verify the chain of hashes and print where it is broken.

    It detects every edit, deletion, insertion and reordering, and then exits with 1. Events newer
    than the given head are verified too.
    """
    wanted = _head_of(earlier_head) if earlier_head else None
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
        raise CommandError(f"The chain is broken in {len(problems)} places, listed above.")
    last = rules.head_after(events)
    click.echo(f"{len(events)} events, the chain is intact")
    click.echo(f"head {last.seq}:{last.hash}")


def _fetch() -> tuple[Head, list[Event]]:
    """Read the whole trail over HTTP; return its head, and the events oldest first.

    The head is read first: events written during the export come after it.
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
                raise CommandError(f"Cannot reach {url}: {error}. Check GATEHOUSE_URL.") from error
            if answer.status_code != httpx.codes.OK:
                raise CommandError(
                    f"{url}/admin/audit answered {answer.status_code}: {answer.text[:300]}"
                )
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
            raise CommandError(
                f"{file}, line {number}: must be JSON; export the trail again."
            ) from error
        if not isinstance(event, dict):
            raise CommandError(
                f"{file}, line {number}: must be an audit event; export the trail again."
            )
        yield event


def _head_of(text: str) -> Head:
    seq, _, digest = text.removeprefix("head ").partition(":")
    if not seq.isdecimal() or not digest:
        raise CommandError("--head must be SEQ:HASH, as `gatehouse audit export` prints it.")
    return Head(int(seq), digest)
