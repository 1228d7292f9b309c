"""Hyper-parameters that cannot work with so many classes are refused before anything is trained."""

import pytest

from deep import methods
from deep.data.spec import DataSpec
from deep.matching import check_label_mass
from deep.training.runner import Runner
from tests.deep.training.small_runs import DATA, small

CLASSES = {"cifar10": 10, "mnist": 10, "digits": 10, "cifar100": 100, "imagenet": 1000}
ONLY_ROOM = {"label_weight": 0.6, "label_mass": 0.62}
REFUSED = [
    ("self_distillation", ONLY_ROOM, r"label_mass must exceed 0\.64.*10 classes.*got 0\.62"),
    ("self_distillation", {"label_weight": 0.0, "label_mass": 0.1}, "label_mass must exceed 0.1,"),
    ("pruned_distillation", ONLY_ROOM, r"label_mass must exceed 0\.64"),
    ("pruned_distillation", {"share": 0.97}, "share must leave at least one of 10 classes"),
    ("map_distillation", ONLY_ROOM, r"label_mass must exceed 0\.64"),
    ("map_distillation", {"gamma": 1.2}, r"gamma must be less than 1\.067.*10 classes"),
]
ALLOWED = [
    ("self_distillation", {**ONLY_ROOM, "temperature": 4.0}),
    ("self_distillation", {"label_weight": 0.6, "label_mass": 0.641}),
    ("pruned_distillation", {"share": 0.95}),
    ("map_distillation", {"gamma": 1.2, "beta": 0.1}),
    ("map_distillation", {"gamma": 1.2, "reading": "eq3"}),
    ("map_distillation", {"gamma": 1.06}),
    # less than a uniform teacher gives: the closed forms hold for any mass in [0, 1]
    ("lsrkd_tc", {"label_mass": 0.0}),
    ("mrkd_tc", {"label_mass": 0.0}),
    ("tf_kd", {"label_mass": 0.0}),
    ("label_smoothing", {"epsilon": 1.0, "convention": "true"}),
]


def check(name, classes, **options):
    method = methods.get(name)
    if method.check is not None:
        method.check(method.Hyper(**options), classes)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("name", methods.names())
def test_defaults_work_with_any_number_of_classes(name, classes):
    check(name, classes)


@pytest.mark.parametrize("name", methods.names())
def test_papers_values_work_with_the_classes_of_their_data(name):
    method = methods.get(name)
    for data, hyper in method.paper.items():
        if method.check is not None:
            method.check(hyper, CLASSES[data])


@pytest.mark.parametrize(("name", "options"), ALLOWED)
def test_what_works_with_ten_classes_is_allowed(name, options):
    check(name, 10, **options)


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_what_cannot_work_is_refused_with_no_step_taken(name, options, message):
    with pytest.raises(ValueError, match=message):
        check(name, 10, **options)
    steps = []
    with pytest.raises(ValueError, match=message):
        Runner(watch=steps.append).run(small(name, options=options))
    assert not steps, "the teacher must not be trained for a student that cannot be"


def test_more_classes_may_allow_what_few_do_not():
    check("pruned_distillation", 100, share=0.97)
    check("self_distillation", 100, **ONLY_ROOM)
    with pytest.raises(ValueError, match="gamma must be less than"):
        check("map_distillation", 100, gamma=1.06)


def test_the_number_of_classes_is_that_of_the_images():
    """Three classes leave a label more than ten do."""
    config = small(
        "self_distillation",
        options={"label_weight": 0.6, "label_mass": 0.7},
        data=DataSpec(name="gaussian", samples=96, test_samples=40),
    )
    with pytest.raises(ValueError, match=r"exceed 0\.7333.*3 classes"):
        Runner().run(config)
    check("self_distillation", 10, label_weight=0.6, label_mass=0.7)
    assert DATA.name == "digits"


def test_the_bound_is_excluded():
    with pytest.raises(ValueError, match="uniform teacher of 2 classes"):
        check_label_mass(0.75, 0.5, 2)
    check_label_mass(0.7500001, 0.5, 2)
    check_label_mass(0.75, 0.5)
