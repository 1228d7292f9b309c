"""``stillroom report``: the HTML report of stored results."""

from collections.abc import Sequence

from stillroom import options, pictures
from stillroom.errors import UserError

SUMMARY = "write the HTML report of stored results"


def main(arguments: Sequence[str]) -> int:
    """Write ``out/report/index.html``."""
    parser = options.Parser("report", "Write one self-contained HTML page of the latest results.")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_out()
    given = parser.parsed(arguments)
    from sims import results

    out = options.out_folder(given.out, write=False)
    found = results.latest(out)
    if not found:
        msg = f"no results under {out / 'results'}; run `stillroom demo` or `stillroom sim NAME`"
        raise UserError(msg)
    options.out_folder(given.out)
    page = pictures.write_report(found, out)
    print(f"report: {page}")
    if given.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0
