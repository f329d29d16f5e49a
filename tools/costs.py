"""Write the tables of docs/costs.md: counted calls and assumed durations, times list prices.

`python tools/costs.py --write` writes them into the page, each between its markers. Without the
flag it exits with 1 when the page is outdated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cost_rows
import prices
from cost_rows import Row, dollars

PAGE = Path(__file__).resolve().parents[1] / "docs" / "costs.md"


def tables() -> dict[str, list[str]]:
    """Return the lines of each table by the name in its markers."""
    return {
        "prices": _prices(),
        "requests": _table(cost_rows.requests(), ("busy", "quiet"), total="a million"),
        "deliveries": _table(cost_rows.deliveries(), ("busy", "quiet"), total="a million"),
        "retries": _table(cost_rows.retries(), ("full batches", "each alone")),
        "idle": _table(cost_rows.idle(), ("a month",), total="a month"),
        "months": _table(cost_rows.months(), ("busy", "quiet"), total="a month"),
        "capacity": cost_rows.capacity(),
    }


def text() -> str:
    """Return the page with its tables computed."""
    page = PAGE.read_text()
    for name, lines in tables().items():
        begin, end = f"<!-- computed: {name} -->\n", "<!-- end -->"
        if begin not in page:
            raise ValueError(f"docs/costs.md has no place for the table {name}")
        before, _, after = page.partition(begin)
        page = f"{before}{begin}\n" + "\n".join(lines) + f"\n\n{end}" + after.partition(end)[2]
    return page


def _prices() -> list[str]:
    lines = ["| what | price | since |", "| --- | --- | --- |"]
    return lines + [f"| {one.what} | {one.text} | {one.since} |" for one in prices.ALL]


def _table(rows: Sequence[Row], columns: Sequence[str], *, total: str = "") -> list[str]:
    priced = any(row.price for row in rows)
    head = ["what", "counted", *(["price"] if priced else []), *columns]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [row.what, row.counted, *([row.price] if priced else []), *map(dollars, row.costs)]
        lines.append(f"| {' | '.join(cells)} |")
    if total:
        sums = [
            f"**{dollars(sum(one))}**" for one in zip(*(row.costs for row in rows), strict=True)
        ]
        cells = [f"**{total}**", "", *([""] if priced else []), *sums]
        lines.append(f"| {' | '.join(cells)} |")
    return [re.sub(r"\|  (?=\|)", "| ", line) for line in lines]


if __name__ == "__main__":
    wanted = text()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(wanted)
    elif PAGE.read_text() != wanted:
        sys.exit("docs/costs.md is outdated. Run `make costs`.")
