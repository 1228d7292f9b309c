import subprocess
import sys

import pytest
import torch

from deep.training.optimizers import Optimizer, Stepper

CASES = {
    "adam": (Optimizer(weight_decay=0.1), torch.optim.Adam, {"weight_decay": 0.1}),
    "sgd": (Optimizer(name="sgd"), torch.optim.SGD, {}),
    "nesterov": (
        Optimizer(name="sgd", momentum=0.9, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_steps_are_those_of_torchs_classes(ours, theirs, options, dtype):
    torch.manual_seed(0)
    weights = [torch.randn(4, 3, dtype=dtype), torch.randn(5, dtype=dtype)]
    copies = [torch.nn.Parameter(weight.clone()) for weight in weights]
    reference = theirs(copies, lr=ours.learning_rate, **options)
    stepper = Stepper(ours, weights)
    for _ in range(6):
        gradients = [torch.randn_like(weight) for weight in weights]
        stepper.step(gradients)
        for copy, gradient in zip(copies, gradients, strict=True):
            copy.grad = gradient.clone()
        reference.step()
    for weight, copy in zip(weights, copies, strict=True):
        torch.testing.assert_close(weight, copy.detach())


def test_training_does_not_import_the_compiler():
    """It takes a second; a small network trains in less."""
    code = (
        "import sys; from deep import models; from deep.training.fixed_targets.loop import train\n"
        "from deep.data.spec import DataSpec\n"
        "from deep.training.fixed_targets.config import RunConfig\n"
        "train(RunConfig(model=models.spec('mlp', width=4), data=DataSpec(samples=20)))\n"
        "print(*({'torch._dynamo', 'sklearn'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_gradients_of_another_layout_step_the_same_weights(name):
    optimizer = Optimizer(name=name, learning_rate=0.1, momentum=0.9 if name == "sgd" else 0.0)
    values = torch.arange(6.0).reshape(2, 3)
    gradient = torch.arange(6.0, 0, -1).reshape(2, 3)
    stepped = []
    for given in (gradient, gradient.T.contiguous().T):
        weight = values.clone()
        stepper = Stepper(optimizer, [weight])
        for _ in range(3):
            stepper.step([given])
        stepped.append(weight)
    torch.testing.assert_close(*stepped, rtol=0, atol=0)
