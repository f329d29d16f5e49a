"""The blocks of README and docs/, run page by page in one shell against the stack.

The pages that restart a function run in test_alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.checks.pasted_commands import check_page, pages_to_run, restarts_a_function
from support.worlds.deployed_stack import Deployed


@pytest.mark.skipif(shutil.which("curl") is None, reason="the machine has no curl")
@pytest.mark.parametrize(
    "page",
    [page for page in pages_to_run() if not restarts_a_function(page)],
    ids=lambda page: page.stem,
)
def test_the_blocks_of_a_page_work_in_order(stack: Deployed, page: Path, tmp_path: Path) -> None:
    check_page(stack, page, tmp_path)
