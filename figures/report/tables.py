"""A small table in five forms: plain text, Markdown, LaTeX, CSV and HTML.

Cells are text already: whoever fills the table decides how a number is written.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_MINUS = "−"  # which no program reads as that of a number
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    _MINUS: "$-$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}
NUMBER = re.compile(r"[-+−]?(\d[\d,]*\.?\d*|\.\d+)([eE][-+]?\d+)?( ?[%s])?$")


@dataclass(frozen=True, slots=True)
class Table:
    r"""Rows of text under a heading each.

    Example:
        >>> table = Table.of(["scheme", "change"], [["ridge", "-7.3"], ["a|b", "0"]])
        >>> print(table.text())
        scheme  change
        ------  ------
        ridge     -7.3
        a|b          0
        >>> print(table.markdown())
        | scheme | change |
        | --- | ---: |
        | ridge | -7.3 |
        | a\|b | 0 |
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
        """A table of these columns and rows.

        Raises:
            ValueError: If a row has not one cell for each column.
        """
        table = cls(tuple(columns), tuple(tuple(row) for row in rows))
        for index, row in enumerate(table.rows):
            if len(row) != len(table.columns):
                msg = f"row {index} must have {len(table.columns)} cells, got {len(row)}"
                raise ValueError(msg)
        return table

    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether every cell in it is a number (and so is set flush right)."""
        cells = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(bool(c) and all(NUMBER.match(cell) for cell in c) for c in cells)

    def text(self) -> str:
        """For a terminal: padded columns."""
        every = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.columns))]
        rule = tuple("-" * width for width in widths)

        def line(row: Sequence[str]) -> str:
            cells = zip(row, widths, self.numeric(), strict=True)
            padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in cells)
            return "  ".join(padded).rstrip()

        return "\n".join(line(row) for row in (self.columns, rule, *self.rows))

    def markdown(self) -> str:
        """For a README."""

        def line(row: Iterable[str]) -> str:
            return "| " + " | ".join(row) + " |"

        def plain(row: Iterable[str]) -> Iterable[str]:
            return (re.sub(r"([\\|<*`])", r"\\\1", " ".join(cell.split())) for cell in row)

        rule = ("---:" if right else "---" for right in self.numeric())
        return "\n".join(
            [line(plain(self.columns)), line(rule), *(line(plain(r)) for r in self.rows)]
        )

    def latex(self) -> str:
        """For a paper: a booktabs ``tabular``."""
        sides = "".join("r" if right else "l" for right in self.numeric())

        def line(row: Iterable[str]) -> str:
            escaped = ("".join(LATEX.get(mark, mark) for mark in cell) for cell in row)
            joined = " & ".join(escaped)
            # after a line's end, these would be taken for its options
            return ("{}" if joined[:1] in ("[", "*") else "") + joined + r" \\"

        body = [line(self.columns), r"\midrule", *(line(row) for row in self.rows)]
        inside = [r"\toprule", *body, r"\bottomrule"]
        return "\n".join([rf"\begin{{tabular}}{{{sides}}}", *inside, r"\end{tabular}"])

    def csv(self) -> str:
        """For a spreadsheet."""
        buffer = io.StringIO()
        rows = [[cell.replace(_MINUS, "-") for cell in row] for row in (self.columns, *self.rows)]
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        return buffer.getvalue()

    def html(self) -> Markup:
        """For the report: escaped, with a scope on every heading; ± keeps to its numbers."""
        sides = [Markup(' class="number"') if right else "" for right in self.numeric()]

        def cells(row: Iterable[str]) -> Markup:
            whole = (cell.replace(" ± ", "\u00a0±\u00a0") for cell in row)
            pairs = zip(whole, sides, strict=True)
            return Markup("").join(Markup("<td{}>{}</td>").format(s, escape(c)) for c, s in pairs)

        heads = zip(self.columns, sides, strict=True)
        head = Markup("").join(Markup('<th scope="col"{}>{}</th>').format(s, h) for h, s in heads)
        body = Markup("").join(Markup("<tr>{}</tr>").format(cells(row)) for row in self.rows)
        return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
            head, body
        )
