"""Teachers: asked in every step, or once for every view; the student is the same."""

import numpy as np
import pytest
import torch

from deep.data.augment import Viewer, Views
from deep.data.normalization import normalization
from deep.data.spec import DataSpec
from deep.training.plan import Plan
from deep.training.runner import Runner
from deep.training.streams import stream
from deep.training.teacher_views import ViewTable
from deep.training.teaching import Look, NetworkTeacher, RowTeacher, TableTeacher
from tests.deep.training.small_runs import assert_same, small, stepped, trainer_of

CONVOLVED = {"model": "resnet8", "views": "crop_flip", "epochs": 4}


def asked_alone(network, inputs):
    """What a network says of one image at a time."""
    return torch.cat([network(one[None]) for one in inputs])


@pytest.mark.parametrize("method", ["wsl", "kd", "parameter_average", "early_stopped_kd"])
def test_twenty_steps_are_the_same_with_a_table_and_without(method):
    config = small(method, **CONVOLVED)
    trainers = [trainer_of(config, view_table=table) for table in (True, False)]
    assert [type(one.teacher) for one in trainers] == [TableTeacher, NetworkTeacher]
    weights = [stepped(trainer, 20).network.state_dict() for trainer in trainers]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_table_says_what_the_network_says_of_each_view():
    config = small("wsl", **CONVOLVED)
    trainer = trainer_of(config)
    network = trainer.teacher.teacher.network
    viewer = Viewer(trainer.data.train.images, trainer.views)
    for step in range(8):
        visit = trainer.plan.visit(step)
        said = trainer.teacher.logits(visit, Look(viewer, visit, white=16))
        inputs = viewer(visit.index, visit.view).reshape(len(said), -1) / 16
        with torch.no_grad():
            torch.testing.assert_close(said, asked_alone(network, inputs), rtol=0, atol=1e-5)


def test_a_second_student_of_the_same_views_asks_nothing(tmp_path):
    stepped(trainer_of(small("wsl", **CONVOLVED), out=tmp_path))
    second = trainer_of(small("kd", **CONVOLVED), out=tmp_path)
    assert second.teacher.table.filled > 3 * 86
    second.teacher.compute = lambda *_: pytest.fail("the teacher was asked again")
    stepped(second)


def test_a_second_seed_fills_in_what_is_missing(tmp_path):
    runner = Runner(tmp_path)
    runner.run(small("kd", **CONVOLVED))
    asked = []
    other = trainer_of(small("kd", seed=1, **CONVOLVED), out=tmp_path)
    begun = other.teacher.table.filled
    compute = other.teacher.compute
    other.teacher.compute = lambda index, view: asked.append(index) or compute(index, view)
    stepped(other)
    assert asked
    assert begun < other.teacher.table.filled < 2 * 4 * 86
    (folder,) = (tmp_path / "cache" / "teacher_views").glob("[0-9a-f]*")
    assert (folder / "logits.bin").exists()


def test_a_student_does_not_depend_on_what_the_table_held(tmp_path):
    alone = stepped(trainer_of(small("wsl", **CONVOLVED))).tensors()
    for seed in (1, 2):
        stepped(trainer_of(small("wsl", seed=seed, **CONVOLVED), out=tmp_path), 9)
    assert_same(stepped(trainer_of(small("wsl", **CONVOLVED), out=tmp_path)).tensors(), alone)


def test_a_teacher_with_the_statistics_of_the_batch_has_no_table():
    config = small("wsl", teacher_statistics="batch", **CONVOLVED)
    trainer = trainer_of(config)
    teacher = trainer.teacher
    assert isinstance(teacher, NetworkTeacher)
    assert teacher.network.training
    visit = trainer.plan.visit(0)
    look = Look(trainer.viewer, visit, white=16)
    said = teacher.logits(visit, look)
    inputs = look.inputs(normalization("unit"))
    want = teacher.network(inputs)
    torch.testing.assert_close(said, want, rtol=0, atol=1e-6)
    teacher.network.eval()
    assert (said - teacher.network(inputs)).abs().max() > 0.01
    stepped(trainer, 3)


def test_members_of_an_ensemble_do_not_share_the_statistics_of_a_batch():
    config = small("wsl", **CONVOLVED)
    network = trainer_of(config, view_table=False).teacher.network
    teacher = NetworkTeacher(network, normalization("unit"), statistics="batch")
    inputs = torch.from_numpy(stream("inputs of a test").random((3, 8, 64), dtype=np.float32))
    want = torch.stack([teacher.on(member) for member in inputs])
    torch.testing.assert_close(teacher.on(inputs), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("table", [True, False])
def test_a_teacher_may_see_the_plain_image_only(table):
    config = small("kd", teacher_view="plain", **CONVOLVED)
    trainer = trainer_of(config, view_table=table)
    plain = trainer.data.train.images.reshape(86, -1) / 16
    network = Runner().run(config.teacher).network("final", trainer.data).eval()
    with torch.no_grad():
        want = asked_alone(network, plain)
    for step in (0, 7):
        visit = trainer.plan.visit(step)
        said = trainer.teacher.logits(visit, Look(trainer.viewer, visit, white=16))
        torch.testing.assert_close(said, want[visit.index], rtol=0, atol=1e-5)
    if table:
        stepped(trainer)
        assert trainer.teacher.table.filled == 86


def test_each_network_sees_its_own_normalization():
    data = DataSpec(name="synthetic", samples=24, test_samples=4)
    colors = {"normalization": "overhaul", "validation": 0.0}
    config = small("kd", model="resnet8", data=data, recipe_options=colors, epochs=1)
    trainer = trainer_of(config, view_table=False)
    visit = trainer.plan.visit(0)
    look = Look(trainer.viewer, visit, white=255)
    pixels = trainer.data.train.images[visit.index].double() / 255
    for name in ("overhaul", "cifar10"):
        style = normalization(name)
        mean, deviation = torch.tensor(style.mean), torch.tensor(style.deviation)
        want = ((pixels - mean) / deviation).flatten(1).float()
        torch.testing.assert_close(look.inputs(style), want, rtol=1e-4, atol=1e-5)


def test_rows_are_logarithms_whatever_the_view():
    rows = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    plan = Plan([small(epochs=1)], 3, Views("none"))
    visit = plan.visit(0)
    said = RowTeacher(rows).logits(visit, None)
    assert torch.equal(said.exp(), rows[visit.index])
    assert said[visit.index == 1].tolist() == [[0.0, -torch.inf]]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
def test_cells_are_computed_alike_in_any_company(count):
    trainer = trainer_of(small("wsl", **CONVOLVED))
    index, view = torch.arange(count) % 86, torch.arange(count) % 50
    many = trainer.teacher.compute(index, view)
    assert many.shape == (count, 10)
    one = torch.cat(
        [trainer.teacher.compute(*cell[:, None]) for cell in torch.stack([index, view], 1)]
    )
    torch.testing.assert_close(many, one, rtol=0, atol=1e-5)


def test_a_table_of_other_images_is_another(tmp_path):
    keys = set()
    for change in (
        {},
        {"data": DataSpec(samples=95, test_samples=40)},
        {"recipe_options": {"normalization": "mnist"}},
        {"teacher_seed": 1},
    ):
        trainer = trainer_of(small("kd", **{**CONVOLVED, "epochs": 1}, **change), out=tmp_path)
        keys.add(trainer.teacher.table.layout.key)
    assert len(keys) == 4
    assert isinstance(trainer.teacher.table, ViewTable)


def test_a_teacher_in_half_precision_says_the_same_with_a_table_and_without(tmp_path):
    config = small("kd", teacher_dtype="float16")
    exact = small("kd")
    said = []
    for one, table in ((config, True), (config, False), (exact, True)):
        trainer = trainer_of(one, out=tmp_path / str(table), view_table=table)
        visit = trainer.plan.visit(0)
        look = Look(trainer.viewer, visit, white=trainer.data.white)
        said.append(trainer.teacher.logits(visit, look))
    torch.testing.assert_close(said[0], said[1], rtol=2e-3, atol=2e-3)
    assert torch.equal(said[0], said[0].half().float())
    assert torch.equal(said[1], said[1].half().float())
    assert not torch.equal(said[0], said[2])
    assert Runner().key(config) != Runner().key(exact)
