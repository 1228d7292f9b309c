"""What a step asks of the device, and training on a GPU."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deep.method import FilterTable
from deep.training.config import Keeps
from deep.training.precision import products
from deep.training.runner import Runner
from deep.training.teaching import TableTeacher
from tests.deep.training.small_runs import assert_same, small, stepped, trainer_of

METHODS = ("one_hot", "wsl", "kd", "mrkd", "beta_smoothing", "filter_kd", "mixed_regularization")
CONVOLVED = {"model": "resnet8", "views": "crop_flip"}
WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


def run_of(method, **options):
    if method == "table":  # what a teacher keeps
        return replace(small(**options), keeps=Keeps(table=FilterTable(init="first")))
    return small(method, **options)


class Watched(TorchDispatchMode):
    """Notes operations whose result the host must wait for, on whatever device."""

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.partition("::")[2]
        tensors = [one for part in args if isinstance(part, list | tuple) for one in part]
        by_mask = name.startswith("index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in tensors
        )
        if name in WAITING or by_mask:
            self.waited.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", [*METHODS, "table"])
def test_no_operation_of_a_step_waits_for_its_result(method):
    trainer = trainer_of(run_of(method, **CONVOLVED))
    trainer.step()
    with Watched() as watched:
        trainer.step()
    assert not watched.waited
    with watched:  # that it would notice
        bool((trainer.weights[0] > 0).any())
    assert watched.waited


def test_a_trainer_makes_the_same_steps_again():
    config = small("beta_smoothing", **CONVOLVED)
    assert_same(*(stepped(trainer_of(config), 7).tensors() for _ in range(2)))


def test_what_looks_on_changes_nothing():
    config = small("mrkd", **CONVOLVED)
    plain, looked_at = trainer_of(config), trainer_of(config)
    for _ in range(7):
        plain.step()
        looked_at.step()
        looked_at.logits(looked_at.data.test)
        looked_at.tensors()
    assert_same(looked_at.tensors(), plain.tensors())


def test_a_posterior_that_is_missing_is_named():
    with pytest.raises(ValueError, match="posterior must be"):
        trainer_of(small("ground_truth", data=replace(small().data, noise=0.0))).step()


@pytest.mark.gpu
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("method", [*METHODS, "table"])
def test_a_step_on_a_gpu_waits_for_nothing(method, table):
    trainer = trainer_of(run_of(method, **CONVOLVED), view_table=table, device="cuda")
    stepped(trainer, 7)  # the second epoch is drawn, kernels are chosen
    if isinstance(trainer.teacher, TableTeacher):
        trainer.teacher.table.flush()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepped(trainer, 11)  # to the last step but one of the epoch
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_trains_as_a_cpu_does(method):
    config = small(method, rate=0.01, **CONVOLVED)
    trained = []
    for device in ("cpu", "cuda"):
        with products("float32", device):
            trained.append(stepped(trainer_of(config, device=device), 5).network.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name].cpu(), value, rtol=5e-3, atol=1e-3, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_run_on_a_gpu_is_stored_and_taken_up_again(tmp_path, precision):
    config, steps = small("wsl", precision=precision, **CONVOLVED), []

    def watch(trainer):
        steps.append(trainer.updates)
        if len(steps) == 18 + 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path, device="cuda", checkpoint_steps=4, watch=watch).run(config)
    steps.append(0)  # no further interruption
    done = Runner(tmp_path, device="cuda", watch=watch).run(config)
    assert steps[-10:] == list(range(9, 19))
    assert done.record["provenance"]["device"].startswith("cuda (")
    assert math.isfinite(done.measures["last"]["train"]["nll"])
