"""What is said, once, of a filtered table that teaches badly, and what the record keeps of it."""

import pytest

from deep.training.runner import Runner
from tests.deep.training.small_runs import small

WEAK = "the filtered table that teaches is a weak one"


def told(out=None, **options):
    """What is said while a student of a table trains, and the record of its teacher."""
    said = []
    runner = Runner(out, say=said.append)
    config = small("filter_kd", **options)
    runner.run(config)
    return [line for line in said if WEAK in line], runner.run(config.teacher).record["table"]


def test_an_early_table_is_told_of_once():
    said, facts = told(options={"smoothing": 0.05})
    assert len(said) == 1
    epoch = facts["best"]["epoch"]
    assert f"it is of epoch {epoch}, before 3/a = 60 epochs of its filter (a = 0.05)" in said[0]
    assert "never predicted" not in said[0]
    assert facts["best"] == {"epoch": epoch, "unseen": 0, "early": True}
    assert facts["last"] == {"epoch": 3, "unseen": 0, "early": True}


def test_the_epoch_is_that_of_the_table_that_teaches(tmp_path):
    """3/a = 6: the last of 8 epochs is late enough, the best, at a rate of nothing, the first."""
    options = {"rate": 1e-30, "epochs": 8}
    said, facts = told(tmp_path, options={"smoothing": 0.5, "stop": "last"}, **options)
    assert said == []
    assert (facts["last"]["early"], facts["best"]["early"]) == (False, True)
    said, again = told(tmp_path, options={"smoothing": 0.5}, **options)
    assert "it is of epoch 1, before 3/a = 6 epochs" in said[0]
    assert again == facts


def test_rows_that_were_never_visited_are_told_of():
    """Two of six batches: 54 of 86 rows are labels."""
    said, facts = told(options={"smoothing": 1.0, "stop": "last"}, scale=1 / 9)
    assert facts["last"]["unseen"] == 86 - 32
    assert len(said) == 1
    assert "62.8% of its rows were never predicted and are smoothed labels" in said[0]


def test_a_table_without_a_start_is_never_too_early():
    said, facts = told(options={"smoothing": 0.05, "init": "debias"})
    assert said == []
    assert facts["last"] == {"epoch": 3, "unseen": 0, "early": False}


def test_members_are_told_apart():
    configs = [small("filter_kd", options={"smoothing": 0.5}, seed=seed) for seed in (0, 1)]
    teachers = [
        small("filter_kd", options={"smoothing": 0.5}, teacher_seed=seed).teacher for seed in (0, 1)
    ]
    said = []
    runner = Runner(say=said.append)
    done = runner.run_together(teachers)
    for one in done:
        best = one.record["table"]["best"]
        assert best["epoch"] == one.measures["best"]["epoch"]
        assert best["unseen"] == 0
    runner.run_together(configs)
    assert sum(WEAK in line for line in said) == 1


@pytest.mark.parametrize("method", ["one_hot", "kd"])
def test_runs_without_a_table_have_no_facts_and_say_nothing(method):
    said = []
    runner = Runner(say=said.append)
    done = runner.run(small(method))
    assert done.record["table"] == {}
    assert not [line for line in said if WEAK in line]
