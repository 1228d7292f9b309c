"""The tables of predicted networks: every method with its closed form and how far it is off."""

from figures import _predictions
from figures.report.tables import Table
from sims.results import Result

COLUMNS = (
    "method",
    "source",
    "closed form: gain",
    "error of training outputs",
    "accuracy off by",
    "recovery off by",
)


def tables_of(result: Result) -> tuple[tuple[str, Table], ...]:
    """Titles and tables for the network of the main picture; none for other experiments."""
    if result.experiment != _predictions.RESULT:
        return ()
    setting = _predictions.shown(result)
    by = _predictions.predictor(result, setting)
    late = result.array("reads")[result.array("late")]
    title = (
        f"The methods and their closed forms ({_predictions.named(result, setting)}, "
        f"{result.array('predictors')[by]} kernel, steps {late[0]} to {late[-1]})"
    )
    words = (result.array(name) for name in ("method_labels", "sources", "formulas"))
    rows = [
        (*map(str, told), f"{100 * error:.1f} %", f"{accuracy:.3f}", f"{recovery:.3f}")
        for *told, (error, accuracy, recovery) in zip(
            *words, result.array("method_error")[setting, by], strict=True
        )
    ]
    return (title, Table.of(COLUMNS, rows)), ("Symbols of the closed forms", _symbols(result))


def _symbols(result: Result) -> Table:
    teacher, switch = (int(result.array(f"{name}_step")) for name in ("teacher", "switch"))
    return Table.of(
        ("symbol", "meaning"),
        (
            ("phi_t", "what t steps on the labels learn, 1 - (1 - step size × eigenvalue)^t"),
            ("T", f"steps of the teacher: {teacher}"),
            ("s", f"steps before the switch: {switch}"),
            ("k", "steps between the copies of memory replay"),
            ("e, e_copy", "1 less the gain: of the network, and of its copy"),
            ("w", "weight of the copies in memory replay, of the labels beside a teacher"),
            ("E", "gain of the average of the outputs over training"),
        ),
    )
