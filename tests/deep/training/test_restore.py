"""Configs come back from records as they were, to the last bit of their keys."""

from dataclasses import replace

import pytest

from deep import methods, models
from deep.data.spec import DataSpec
from deep.records.encoding import content_key, dumps, loads, plain
from deep.training import recipes
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.restore import config_from
from tests.deep.training.small_runs import small

WRN = models.named("wrn_16_2")
IMPORTED = ImportedTeacher(models.named("mlp", width=16, depth=1), "ab" * 32, "unit")


def returned(config):
    """As a record gives it back."""
    return config_from(loads(dumps(plain(config))))


def assert_returns(config):
    found = returned(config)
    assert found == config
    assert content_key({"run": found}) == content_key({"run": config})
    assert hash(found) == hash(config)


@pytest.mark.parametrize("name", methods.names())
def test_every_method_returns(name):
    assert_returns(small(name, teacher=models.named("mlp", width=24), seed=3))


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_returns(name):
    assert_returns(RunConfig(model=WRN, recipe=recipes.recipe(name), scale=0.125))


@pytest.mark.parametrize(
    "config",
    [
        small("born_again", options={"generation": 3}, teacher_scale=0.5),
        small("filter_kd", options={"smoothing": 0.5, "init": "first"}),
        small("parameter_average", options={"decay": 0.5}),
        small("kd", teacher=IMPORTED),
        small("kd", teacher_method=methods.spec("kd", temperature=2.0)),
        small("kd", order="teacher", student_init="teacher", teacher_view="plain"),
        small("kd", teacher_recipe=recipes.recipe("wang"), precision="bf16"),
        small(data=DataSpec(name="folder:/some/where", samples=7, choice="first", seed=2)),
    ],
    ids=lambda config: config.method.name,
)
def test_every_kind_of_teacher_and_data_returns(config):
    assert_returns(config)
    assert type(returned(config).teacher) is type(config.teacher)


def test_values_keep_their_type():
    config = small("kd", epochs=3)
    found = returned(replace(config, recipe=replace(config.recipe, epochs=3.0)))
    assert type(found.recipe.epochs) is float
    assert type(returned(config).recipe.epochs) is int


def test_what_an_older_record_lacks_has_its_default():
    held = plain(small("kd"))
    del held["teacher_view"], held["teacher"]["recipe"]["drop_last"]
    assert config_from(held) == small("kd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"imported": {}}, "got 'imported' beside them; is it the config of a run that was"),
        ({"recipe": None}, "config.recipe must be a dictionary of the fields of Recipe, got None"),
        ({"model": {"name": "mlp", "width": 3}}, "config.model must have the fields of ModelSpec"),
        ({"model": {}}, "config.model must have 'name'"),
        ({"scale": -1.0}, "scale must be > 0"),
        ({"teacher": {"weights": "ab"}}, "config.teacher must have 'model', 'normalization'"),
        ({"teacher": {"seed": 1}}, "config.teacher must have 'model', 'recipe', got seed"),
    ],
)
def test_what_is_no_config_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        config_from({**plain(small("kd")), **change})
