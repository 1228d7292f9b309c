"""Nothing of the specification is left out: every property and every erratum has its test.

Properties are tests named ``test_pNN_…`` in this folder, errata tests named ``test_<row>_…`` in
``errata/``, with the rows that docs/labels.md lists.
"""

import ast
import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import theory.labels
from theory.statements import statements

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "labels.md"
PROPERTIES = 78


def names_in(folder):
    """Names of all test functions in the folder."""
    names = set()
    for file in folder.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names.add(node.name)
    return names


def test_every_property_is_tested():
    found = {int(m[1]) for name in names_in(HERE) if (m := re.match(r"test_p(\d\d)_", name))}
    assert found == set(range(1, PROPERTIES + 1))


def test_every_statement_is_in_the_documentation_and_no_other():
    for module in walk_packages(theory.labels.__path__, "theory.labels."):
        import_module(module.name)
    stated = {one.label for one in statements() if one.label.startswith("labels:")}
    assert set(re.findall(r"`(labels:[a-z0-9-]+)`", DOCS.read_text("utf-8"))) == stated


def test_every_erratum_of_the_documentation_is_tested_and_no_other():
    listed = set(re.findall(r"^- \*\*([RZSWN]\d+)\.\*\*", DOCS.read_text("utf-8"), re.MULTILINE))
    matched = (re.match(r"test_([rzswn]\d+)_", name) for name in names_in(HERE / "errata"))
    assert listed
    assert {m[1].upper() for m in matched if m} == listed
