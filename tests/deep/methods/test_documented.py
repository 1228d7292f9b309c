"""The page on the benchmark names every method, and no other."""

import re
from pathlib import Path

from deep import methods

PAGE = Path(__file__).parents[3] / "docs" / "benchmark.md"


def test_the_table_of_the_page_is_complete():
    table = PAGE.read_text().split("## Methods")[1].split("\n\n")[1]
    named = [
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(named) == list(methods.names())
