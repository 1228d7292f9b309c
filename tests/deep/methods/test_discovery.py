"""Methods are found by name, and their options are given their types."""

import subprocess
import sys

import pytest

from deep import methods
from deep.method import MethodSpec

DROPPED_IN = '''r"""Louder labels: a factor on the cross-entropy, made here.

.. math:: c \\, CE(e_y, \\sigma(z))
"""

from dataclasses import dataclass

from deep.losses import cross_entropy
from deep.method import Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Options of each type."""

    loudness: float = 2.0
    times: int = 1
    doubled: bool = False
    note: str = "none"
    limit: float | None = None


PAPER = {"cifar10": Hyper(loudness=3.0)}


def needs(hyper):
    return Needs()


def loss(hyper, student, teacher, batch, state):
    return {"loss": hyper.loudness * cross_entropy(student.logits, batch.labels)}
'''


@pytest.fixture
def louder(tmp_path, monkeypatch):
    """A method in a file of its own, beside those of the package."""
    (tmp_path / "louder_labels.py").write_text(DROPPED_IN)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    methods.get.cache_clear()
    yield "louder_labels"
    methods.get.cache_clear()
    sys.modules.pop("deep.methods.louder_labels", None)
    vars(methods).pop("louder_labels", None)


def test_the_methods_of_the_five_papers_are_there():
    assert {
        *("one_hot", "label_smoothing", "ground_truth", "kd", "early_stopped_kd", "filter_kd"),
        *("born_again", "wsl", "masked_kd", "exclude_regularization", "only_regularization"),
        *("mixed_regularization", "beta_smoothing", "random_beta", "pruned_distillation"),
        *("self_distillation", "map_distillation", "parameter_average", "lsr", "lsrkd"),
        *("lsrkd_tc", "mrkd", "mrkd_tc", "tf_kd", "entropy_penalty", "early_kd", "late_kd"),
    } <= set(methods.names())


def test_names_are_sorted_and_single():
    assert list(methods.names()) == sorted(set(methods.names()))


def test_names_are_listed_without_torch():
    code = (
        "import sys; from deep import methods; assert 'kd' in methods.names(); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "near"), [("onehot", "one_hot"), ("filterkd", "filter_kd"), ("mrkd_ct", "mrkd_tc")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all(wrong, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'") as refusal:
        methods.get(wrong)
    assert all(name in str(refusal.value) for name in methods.names())


@pytest.mark.parametrize("name", ["", "quite another thing", "__init__", "kd.Hyper", "../kd"])
def test_what_is_no_method_is_refused(name):
    with pytest.raises(ValueError, match="method must be one that exists"):
        methods.spec(name)


def test_a_new_file_is_found(louder):
    assert louder in methods.names()
    method = methods.get(louder)
    assert method.name == louder
    assert method.title == "Louder labels: a factor on the cross-entropy, made here"
    assert method.fit is None
    chosen = methods.spec(louder)
    assert chosen == MethodSpec(
        louder,
        (
            ("doubled", False),
            ("limit", None),
            ("loudness", 2.0),
            ("note", "none"),
            ("times", 1),
        ),
    )
    assert methods.hyper(chosen) == method.Hyper()


def test_it_is_gone_with_its_file():
    assert "louder_labels" not in methods.names()
    with pytest.raises(ValueError, match="louder_labels"):
        methods.get("louder_labels")


@pytest.mark.parametrize(
    ("option", "given", "stored"),
    [
        ("loudness", 5, 5.0),
        ("loudness", 0.5, 0.5),
        ("limit", 3, 3.0),
        ("limit", None, None),
        ("limit", 0.25, 0.25),
        ("times", 4, 4),
        ("doubled", True, True),
        ("note", "some", "some"),
    ],
)
def test_options_are_stored_in_their_own_type(louder, option, given, stored):
    found = dict(methods.spec(louder, **{option: given}).options)[option]
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("loudness", "5"),
        ("loudness", None),
        ("loudness", True),
        ("times", 4.0),
        ("times", True),
        ("doubled", 1),
        ("doubled", "yes"),
        ("note", 5),
        ("note", None),
        ("limit", "none"),
        ("limit", False),
    ],
)
def test_options_of_another_type_are_refused(louder, option, given):
    with pytest.raises(ValueError, match=f"{option} of {louder} must be of type"):
        methods.spec(louder, **{option: given})


def test_equal_values_make_equal_specs_however_they_are_written(louder):
    assert methods.spec(louder, loudness=2) == methods.spec(louder)
    assert hash(methods.spec(louder, loudness=2)) == hash(methods.spec(louder))
    assert methods.spec(louder, loudness=2.5) != methods.spec(louder)


def test_the_papers_values_of_a_data_set_stand_where_they_differ(louder):
    assert dict(methods.spec(louder, data="cifar10").options)["loudness"] == 3.0
    assert dict(methods.spec(louder, data="mnist").options)["loudness"] == 2.0
    assert dict(methods.spec(louder, data="cifar10", loudness=7).options)["loudness"] == 7.0


def test_a_file_that_is_no_method_is_refused(louder, tmp_path):
    text = DROPPED_IN.replace("def needs", "def wants")
    (tmp_path / "half_a_method.py").write_text(text)
    try:
        with pytest.raises(ValueError, match=r"half_a_method must have .* lacks needs"):
            methods.get("half_a_method")
    finally:
        sys.modules.pop("deep.methods.half_a_method", None)
        vars(methods).pop("half_a_method", None)
