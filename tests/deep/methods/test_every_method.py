"""What holds for every method there is: its module, its options, and the symmetries of its loss."""

import ast
import inspect
import math
import re
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields, is_dataclass, replace
from types import ModuleType, UnionType
from typing import get_args, get_type_hints

import pytest
import torch

from deep import methods
from deep.method import Batch, Method, MethodSpec, Needs, Outputs, State
from deep.training.streams import stream

NAMES = methods.names()
SAMPLES, CLASSES = 6, 5
every_method = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class Inputs:
    """Everything a loss can be given; each tensor has its batch along axis -2, labels along -1."""

    student: torch.Tensor
    labels: torch.Tensor
    teacher: torch.Tensor | None = None
    draws: torch.Tensor | None = None
    past: torch.Tensor | None = None
    average: torch.Tensor | None = None
    posterior: torch.Tensor | None = None

    def change(self, rows, labels):
        """Apply one function to all tensors that have classes or draws, another to the labels."""
        found = {
            field.name: None if value is None else rows(value, field.name)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None and field.name != "labels"
        }
        return Inputs(labels=labels(self.labels), **found)

    def tensors(self):
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) is not None
        }


def fabricate(hyper_needs, *key, lead=(), dtype=torch.float64, classes=CLASSES):
    """Random inputs for these needs; networks know something of the labels."""
    rng = stream("shared method tests", *key)

    def logits(*axes, known=1.0):
        values = torch.from_numpy(rng.normal(size=(*axes, *lead, SAMPLES, classes)) * 1.5)
        return (values + known * torch.nn.functional.one_hot(labels, classes)).to(dtype)

    labels = torch.from_numpy(rng.integers(classes, size=(*lead, SAMPLES)))
    uniform = rng.uniform(0.001, 0.999, size=(*lead, SAMPLES, hyper_needs.draws))
    past = hyper_needs.past
    teacher = logits(known=2.0) if hyper_needs.teacher else None
    if hyper_needs.teacher == "table":
        teacher = torch.log_softmax(teacher, dim=-1)
    return Inputs(
        student=logits(),
        labels=labels,
        teacher=teacher,
        draws=torch.from_numpy(uniform).to(dtype) if hyper_needs.draws else None,
        past=logits(past.copies) if past else None,
        average=logits() if hyper_needs.average else None,
        posterior=logits().softmax(-1) if hyper_needs.posterior else None,
    )


def evaluate(method, hyper, given, *, step=517, steps=1000, trained=None):
    """The sum of all terms; inside the window of a switch by default."""
    copies = 0 if given.past is None else len(given.past)
    terms = method.loss(
        hyper,
        Outputs(given.student),
        None if given.teacher is None else Outputs(given.teacher),
        Batch(labels=given.labels, step=step, steps=steps, draws=given.draws),
        State(
            past=given.past,
            trained=copies if trained is None else trained,
            average=given.average,
            posterior=given.posterior,
        ),
    )
    assert isinstance(terms, dict)
    assert terms
    assert all(isinstance(term, str) for term in terms)
    return sum(terms.values())


def option_docs(method):
    """Documentation of each hyper-parameter: the text after it in the source."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(method.Hyper)))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Hyper").body
    documented = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            documented[node.target.id] = after.value.value if text else ""
    return documented


def kinds(method, option):
    """Types that an option may have."""
    hint = get_type_hints(method.Hyper)[option]
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def documented_choices(method):
    """Every option that is text, with the values in its documentation.

    Where one option's text quotes a value of another, that is not one of its own.
    """
    docs = option_docs(method)
    quoted = {
        field.name: sorted(set(re.findall(r'``"([^"`]+)"``', docs[field.name])))
        for field in fields(method.Hyper)
        if str in kinds(method, field.name)
    }
    return {
        option: [
            value
            for value in values
            if allowed(method, option, value)
            or not any(allowed(method, other, value) for other in quoted)
        ]
        for option, values in quoted.items()
    }


def allowed(method, option, value):
    try:
        replace(method.Hyper(), **{option: value})
    except ValueError:
        return False
    return True


def variants(name):
    """A method with its defaults, the paper's other values, and each documented choice."""
    method = methods.get(name)
    chosen = {"default": method.Hyper()}
    chosen |= {f"paper {data}": hyper for data, hyper in method.paper.items()}
    for option, values in documented_choices(method).items():
        chosen |= {
            f"{option}={value}": replace(method.Hyper(), **{option: value}) for value in values
        }
    for label, hyper in chosen.items():
        given = fabricate(method.needs(hyper), name)
        if method.fit is not None:
            hyper = method.fit(hyper, given.teacher, given.labels)  # noqa: PLW2901
        yield label, method, hyper


def close(found, expected, label, tolerance=1e-12):
    torch.testing.assert_close(
        found, expected, rtol=tolerance, atol=tolerance, msg=lambda text: f"{label}: {text}"
    )


# ---- the module


@every_method
def test_title_equation_and_source(name):
    method = methods.get(name)
    text = inspect.getmodule(method.Hyper).__doc__
    assert method.name == name
    assert 10 <= len(method.title) <= 100
    assert text.partition("\n")[0].endswith((".", "?"))
    assert ".. math::" in text
    assert re.search(r"[A-Z]\w+ (et al\. )?\d{4}|five papers", text), "its source belongs there"


@every_method
def test_hyper_is_a_frozen_documented_dataclass_of_plain_values(name):
    method = methods.get(name)
    assert is_dataclass(method.Hyper)
    assert "__slots__" in vars(method.Hyper)
    assert method.Hyper.__doc__
    docs = option_docs(method)
    for field in fields(method.Hyper):
        assert field.kw_only, field.name
        assert field.default is not MISSING, f"{field.name} must have a default"
        assert set(kinds(method, field.name)) <= {bool, int, float, str, type(None)}
        assert type(field.default) in kinds(method, field.name), field.name
        assert docs[field.name].strip(), f"{field.name} must be documented"
        with pytest.raises(FrozenInstanceError):
            setattr(method.Hyper(), field.name, field.default)
    assert hash(method.Hyper()) == hash(method.Hyper())


@every_method
def test_a_public_function_with_an_example_has_the_defaults_of_hyper(name):
    method = methods.get(name)
    module = inspect.getmodule(method.Hyper)
    own = [
        function
        for key, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not key.startswith("_")
        and key not in {"needs", "loss", "fit", "check"}
    ]
    on_tensors = [f for f in own if "student_logits" in inspect.signature(f).parameters]
    assert on_tensors, "a method is first a plain function on logits"
    defaults = {field.name: field.default for field in fields(method.Hyper)}
    for function in own:
        assert ">>>" in (function.__doc__ or ""), f"{function.__name__} must have an example"
    for function in on_tensors:
        for key, parameter in inspect.signature(function).parameters.items():
            if parameter.default is parameter.empty or defaults.get(key) is None:
                continue
            assert parameter.default == defaults[key], f"{key} of {function.__name__}"


@every_method
def test_paper_values_are_of_its_own_type_and_differ_from_the_defaults(name):
    method = methods.get(name)
    for data, hyper in method.paper.items():
        assert type(hyper) is method.Hyper
        assert hyper != method.Hyper(), f"{data} is the default already"
        chosen = methods.spec(name, data=data)
        assert methods.hyper(chosen) == hyper


@every_method
def test_spec_holds_every_option_and_gives_hyper_back(name):
    method = methods.get(name)
    chosen = methods.spec(name)
    assert isinstance(chosen, MethodSpec)
    assert [key for key, _ in chosen.options] == sorted(f.name for f in fields(method.Hyper))
    assert methods.hyper(chosen) == method.Hyper()
    assert isinstance(method.needs(method.Hyper()), Needs)
    assert method.needs(method.Hyper()) == method.needs(method.Hyper())


@every_method
def test_unknown_option_is_refused_with_those_there_are(name):
    known = [field.name for field in fields(methods.get(name).Hyper)]
    with pytest.raises(ValueError, match="nonsense") as refusal:
        methods.spec(name, nonsense=1)
    assert name in str(refusal.value)
    assert all(option in str(refusal.value) for option in known)


@every_method
def test_every_documented_choice_is_allowed_and_another_is_refused(name):
    method = methods.get(name)
    defaults = {field.name: field.default for field in fields(method.Hyper)}
    for option, values in documented_choices(method).items():
        assert {*values, defaults[option]} > {defaults[option]}, f"{option} must name its values"
        for value in values:
            replace(method.Hyper(), **{option: value})
        with pytest.raises(ValueError, match=option):
            replace(method.Hyper(), **{option: "nonsense"})


@every_method
def test_numbers_that_are_none_are_refused_by_name(name):
    method = methods.get(name)
    for field in fields(method.Hyper):
        bad = {float: math.nan, int: -1, bool: 2}
        for value in (bad[kind] for kind in kinds(method, field.name) if kind in bad):
            with pytest.raises(ValueError, match=field.name):
                replace(method.Hyper(), **{field.name: value})


@pytest.mark.parametrize("missing", ["Hyper", "needs", "loss", "title"])
def test_a_module_that_lacks_something_is_no_method(missing):
    module = ModuleType("deep.methods.half_a_method", None if missing == "title" else "A title.")
    for attribute in {"Hyper", "needs", "loss"} - {missing}:
        setattr(module, attribute, object())
    with pytest.raises(ValueError, match=missing) as refusal:
        Method.of(module)
    assert "half_a_method" in str(refusal.value)


# ---- the loss


@every_method
@pytest.mark.parametrize("lead", [(), (2, 3)], ids=["one", "members"])
def test_one_finite_value_a_sample(name, lead):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "shape", lead=lead)
        found = evaluate(method, hyper, given)
        shapes = [given.labels.shape]
        if method.needs(hyper).batch:
            shapes.append(lead)
        assert found.shape in shapes, label
        assert found.dtype == torch.float64, label
        assert found.isfinite().all(), label


@every_method
def test_reordering_a_batch_reorders_its_losses(name):
    order = torch.tensor([4, 0, 5, 3, 1, 2])
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "order")
        moved = given.change(lambda x, _: x[..., order, :], lambda y: y[..., order])
        before, after = (evaluate(method, hyper, each) for each in (given, moved))
        close(after, before[..., order] if before.shape == given.labels.shape else before, label)


@every_method
def test_a_batch_may_be_split(name):
    for label, method, hyper in variants(name):
        if method.needs(hyper).batch:
            continue
        given = fabricate(method.needs(hyper), name, "split")
        halves = [
            given.change(lambda x, _, part=part: x[..., part, :], lambda y, part=part: y[..., part])
            for part in (slice(2), slice(2, None))
        ]
        parts = [evaluate(method, hyper, half) for half in halves]
        close(torch.cat(parts, dim=-1), evaluate(method, hyper, given), label)


@every_method
def test_members_know_nothing_of_each_other(name):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "members", lead=(2, 3))
        together = evaluate(method, hyper, given)
        for i in range(2):
            for j in range(3):
                # past copies have their own axis in front
                alone = given.change(
                    lambda x, key, at=(i, j): x[:, *at] if key == "past" else x[at],
                    lambda y, at=(i, j): y[at],
                )
                close(evaluate(method, hyper, alone), together[i, j], label)


@every_method
def test_classes_may_be_renamed(name):
    order = torch.tensor([3, 0, 4, 1, 2])
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "classes")
        renamed = given.change(
            lambda x, key: x if key == "draws" else x[..., order], lambda y: order.argsort()[y]
        )
        close(evaluate(method, hyper, renamed), evaluate(method, hyper, given), label)


@every_method
def test_a_constant_on_the_logits_changes_nothing(name):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "shift")
        offset = torch.linspace(-7, 9, SAMPLES, dtype=torch.float64).unsqueeze(-1)
        shifted = replace(given, student=given.student + offset)
        close(evaluate(method, hyper, shifted), evaluate(method, hyper, given), label)


@every_method
@pytest.mark.parametrize("progress", [0, 517, 999])
def test_the_gradient_is_finite_and_reaches_the_student_alone(name, progress):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "gradient")
        given = given.change(lambda x, _: x.requires_grad_(), lambda y: y)
        evaluate(method, hyper, given, step=progress).sum().backward()
        for key, tensor in given.tensors().items():
            if key == "student":
                assert tensor.grad.isfinite().all(), label
                assert tensor.grad.abs().sum() > 0, label
            elif key != "labels":
                assert tensor.grad is None or not tensor.grad.any(), f"{label}: {key}"


@every_method
def test_twice_is_the_same_and_nothing_given_is_changed(name):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "twice")
        copies = {key: tensor.clone() for key, tensor in given.tensors().items()}
        generator = torch.get_rng_state()
        first, second = (evaluate(method, hyper, given) for _ in range(2))
        assert torch.equal(first, second), label
        assert torch.equal(torch.get_rng_state(), generator), label
        for key, tensor in given.tensors().items():
            assert torch.equal(tensor, copies[key]), f"{label}: {key}"


@every_method
def test_single_precision_follows_double(name):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "precision")
        narrow = given.change(lambda x, _: x.float(), lambda y: y)
        found = evaluate(method, hyper, narrow)
        assert found.dtype == torch.float32, label
        close(found.double(), evaluate(method, hyper, given), label, tolerance=2e-5)


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sure_students_have_finite_losses(name, dtype):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "extremes", dtype=dtype)
        rows = torch.eye(CLASSES, dtype=dtype)[torch.arange(SAMPLES) % CLASSES]
        for size in (40.0, 1e3):
            for sign in (1.0, -1.0):
                z = (sign * size * rows).requires_grad_()
                found = evaluate(method, hyper, replace(given, student=z))
                found.sum().backward()
                assert found.isfinite().all(), label
                assert z.grad.isfinite().all(), label


@every_method
def test_two_classes(name):
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "two", classes=2)
        assert evaluate(method, hyper, given).isfinite().all(), label


@every_method
def test_a_teacher_that_rules_classes_out(name):
    for label, method, hyper in variants(name):
        needs = method.needs(hyper)
        if needs.teacher != "table":
            continue
        given = fabricate(needs, name, "zeros")
        given.teacher[..., 2] = -torch.inf
        z = given.student.requires_grad_()
        found = evaluate(method, hyper, replace(given, student=z))
        found.sum().backward()
        assert found.isfinite().all(), label
        assert z.grad.isfinite().all(), label


@every_method
def test_no_value_is_asked_for_on_the_host(name):
    """On the meta device a tensor has no values: a branch on one, or an item of one, fails."""
    for label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "host", lead=(2,))
        away = given.change(lambda x, _: x.to("meta"), lambda y: y.to("meta"))
        found = evaluate(method, hyper, away)
        assert found.device.type == "meta", label


@every_method
def test_what_is_needed_and_not_given_is_named(name):
    for _label, method, hyper in variants(name):
        given = fabricate(method.needs(hyper), name, "missing")
        for key in ("teacher", "past", "average", "posterior", "draws"):
            if getattr(given, key) is None:
                continue
            with pytest.raises(ValueError, match=key):
                evaluate(method, hyper, replace(given, **{key: None}))
