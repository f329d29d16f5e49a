"""README leads to every page, and its map to every folder."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_readme_links_every_page_of_docs() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}

    assert pages - set(re.findall(r"\]\((docs/[^)#]*)", README)) == set()


def test_every_folder_on_the_map_exists() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README.partition("## Map")[2], re.MULTILINE)
    named = [path for row in rows for path in re.findall(r"`([^`]+/)`", row)]

    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).is_dir()] == []


def test_every_package_below_the_rooms_is_on_the_map() -> None:
    row = re.search(r"&nbsp;((?:`\w+`(?:, )?)+) \|", README.partition("## Map")[2])
    assert row is not None
    package = ROOT / "layers/gatehouse/python/gatehouse"

    for name in re.findall(r"`(\w+)`", row[1]):
        assert (package / name / "__init__.py").is_file(), name
