"""docs/benchmarks.md has a row for each function of the template."""

import re
from pathlib import Path

from support.aws import resources

ROOT = Path(__file__).parents[2]
# One loads the library that verifies signed messages. The other's budget is the sweeper's time.
WITHOUT_BUDGET = {"wallets", "page"}


def functions(*, with_routes: bool = False) -> set[str]:
    """Return the folders of the template's functions."""
    return {
        resource["Properties"]["CodeUri"].removeprefix("functions/")
        for resource in resources.template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
        and (
            not with_routes
            or any(
                event["Type"] == "Api"
                for event in resource["Properties"].get("Events", {}).values()
            )
        )
    }


def rows(title: str) -> list[str]:
    """Return the first column of a table of the page."""
    page = (ROOT / "docs/benchmarks.md").read_text()
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.*?) \|", section, re.MULTILINE)[2:]


def test_each_function_has_a_row_of_its_init_time() -> None:
    assert {row for row in rows("Init") if not row.startswith("usual ")} == functions()


def test_each_function_with_routes_has_a_budget_of_its_init_time() -> None:
    budgets = {match[1] for row in rows("Budgets") if (match := re.match(r"`(\w+)` init", row))}

    assert budgets == functions(with_routes=True) - WITHOUT_BUDGET
