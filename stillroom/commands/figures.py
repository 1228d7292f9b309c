"""``stillroom figures``: redraw from stored results."""

from collections.abc import Sequence

from stillroom import options, pictures, terminal
from stillroom.errors import UserError

SUMMARY = "redraw the figures from stored results"


def main(arguments: Sequence[str]) -> int:
    """Draw the figures named, or all that stored results allow."""
    parser = options.Parser("figures", "Redraw figures from the latest stored results.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to draw (default: all)")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=pictures.FORMATS,
        default=("svg", "pdf"),
        help="file formats (default: svg pdf)",
    )
    parser.add_argument("--list", action="store_true", help="list the figures and draw none")
    parser.add_out()
    given = parser.parsed(arguments)
    import figures

    if given.list:
        known = [figures.get(name) for name in figures.names()]
        print(terminal.listed([(f.name, f"{f.title} (from {f.result})") for f in known]))
        return 0
    from sims import results
    from sims.progress import shown

    needed = {name: figures.get(name).result for name in given.names}  # an unknown one stops here
    out = options.out_folder(given.out, write=False)
    found = results.latest(out)
    made = {result.experiment for result in found.values()}
    for experiment in needed.values():
        if experiment not in made:
            results.load(out, experiment)  # says what to run
    if not found:
        msg = f"no results under {out / 'results'}; run `stillroom demo` or `stillroom sim NAME`"
        raise UserError(msg)
    options.out_folder(given.out)
    drawn = pictures.draw(
        found,
        out,
        reporter=shown(),
        formats=tuple(given.formats),
        only=tuple(given.names) or None,
    )
    if drawn.files:
        print(terminal.files(drawn.files, out / "figures"))
    elif not drawn.failed:
        print("no figure draws these results")
    return terminal.drawing_status(drawn)
