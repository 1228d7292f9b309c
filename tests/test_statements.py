"""Every registered theorem has a property test, and every test of a theorem names a registered one.

The marks are read from the source of the test files, so that it does not matter which tests were
selected.
"""

import ast
from pathlib import Path

import pytest

from theory.statements import Statement, statements, states

TESTS = Path(__file__).parent
MARKS = ("pytest.mark.theorem", "mark.theorem")


def marked_labels(source):
    """Labels of all marks ``theorem("label", ...)`` in Python source."""
    labels = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in MARKS:
            labels.update(ast.literal_eval(argument) for argument in node.args)
    return labels


def labels_of_all_tests():
    files = sorted(TESTS.rglob("test_*.py"))
    assert files
    return set().union(*(marked_labels(file.read_text(encoding="utf-8")) for file in files))


def test_marks_are_found_wherever_they_stand():
    source = """
    @pytest.mark.theorem("above")
    def test(): ...
    CASES = [pytest.param(1, marks=pytest.mark.theorem("in a parameter"))]
    pytestmark = [mark.theorem("for the module")]
    "pytest.mark.theorem('in a string')"
    """
    lines = "\n".join(line[4:] for line in source.splitlines())
    assert marked_labels(lines) == {"above", "in a parameter", "for the module"}


def test_every_statement_is_tested():
    untested = {statement.label for statement in statements()} - labels_of_all_tests()
    assert not untested, f"no test is marked theorem(...) for {sorted(untested)}"


def test_every_tested_statement_is_registered():
    unknown = labels_of_all_tests() - {statement.label for statement in statements()}
    assert not unknown, f"marked, but computed by no registered function: {sorted(unknown)}"


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement.label)
def test_statements_can_be_read(statement):
    """A sentence, a source, and a function or class of that name."""
    assert isinstance(statement, Statement)
    assert statement.text.endswith(".")
    assert statement.source
    assert statement.where.startswith("theory.")


def test_a_label_is_stated_once():
    label = statements()[0].label
    with pytest.raises(ValueError, match=f"{label}.* is computed by theory"):
        states(label, "Another.", source="nowhere")(labels_of_all_tests)
