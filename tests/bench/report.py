"""What the bench measured, as Markdown: budgets, and a table for each section."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

# Why a budget is missed, where that is known; printed below the table.
_WHY_MISSED = {
    "emit to received, median": (
        "It includes the time in which the local engine polls the stream and the queue."
    ),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """One row of the table of budgets."""

    what: str
    measured: str
    allowed: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the report."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def report(sections: list[Section], budgets: list[Budget]) -> str:
    """Return the whole page."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    parts = [
        "# Benchmarks",
        (
            "After reading this page you know what Gatehouse costs in time and in requests to AWS,"
            " and how that compares with the usual way to build the same."
        ),
        (
            f"Written by `make bench ARGS=--write`, on {machine}. Ratios are similar on other"
            " machines; milliseconds are not."
        ),
        "## Budgets",
        _table(
            ("budget", "measured", "allowed", ""),
            [
                (budget.what, budget.measured, budget.allowed, "PASS" if budget.passed else "FAIL")
                for budget in budgets
            ],
        ),
        *(f"Missed: {what}. {_WHY_MISSED.get(what, '')}".strip() for what in _missed(budgets)),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text, _table(section.head, section.rows)]
    return "\n\n".join(parts) + "\n"


def _missed(budgets: list[Budget]) -> list[str]:
    return [budget.what for budget in budgets if not budget.passed]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
