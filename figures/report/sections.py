"""What the report says in words: the question of every experiment, and how a finding is marked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """An experiment as the reader meets it."""

    title: str
    question: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How a finding is marked: a sign and a word, never a color alone."""

    kind: str
    sign: str
    word: str


# In the order in which they are told.
SECTIONS: dict[str, Section] = {
    "flow_trajectories": Section(
        "Does the closed form hold on real data?",
        "A linear model learns handwritten digits by gradient descent: first a teacher from the "
        "labels, then a student, from the same start, on the teacher's predictions alone. "
        "Training splits into independent motions along the eigendirections of the data, and "
        "for each of them theory gives how far teacher and student are at every moment. Here "
        "that formula is set beside the trained weights, and beside an independent solution of "
        "the differential equation.",
    ),
    "spectral_atlas": Section(
        "Which training schemes lean on the top directions?",
        "Self-distillation over generations, averaged labels, switching between teacher and "
        "labels, ridge regression, momentum: each multiplies what is learned along an "
        "eigendirection by a gain that depends on its eigenvalue alone. Translating that gain "
        "into an effective training time shows the bias: a scheme exaggerates where strong "
        "directions are trained for longer than weak ones, and brakes where it is the other way "
        "round. Plain early stopping gives every direction the same time.",
    ),
    "does_it_pay": Section(
        "When does it pay?",
        "With noisy labels, leaning on the top directions lowers the error only if the signal "
        "lies there. Every scheme is given its best parameters and set against the best that "
        "plain early stopping can do, over signals that lie more and more in the top directions. "
        "A theorem says where no exaggerating scheme can win, as long as the error is a sum over "
        "directions; a last panel leaves that condition, by testing on shifted inputs.",
    ),
    "eigenspace": Section(
        "Does it happen in networks trained as in practice?",
        "Cross-entropy, mini-batches, Adam, temperature 4 and noisy labels satisfy none of the "
        "assumptions of the theorem. The weights of teacher and student are projected on the "
        "eigendirections of the data during training. Two controls stand beside the student: a "
        "second teacher with another order of batches (what difference is mere chance?), and a "
        "student of uniformly smoothed labels as confident as the teacher on average (is it the "
        "teacher's knowledge, or only the softness of its labels?).",
    ),
    "prediction_meets_network": Section(
        "Does the closed form say what trained networks do?",
        "Near its initialization a network learns like a linear model in its own neural tangent "
        "kernel. Ten methods of distillation are predicted there before any training, direction "
        "by direction, with no fitted number, and networks are trained by each of them. Outputs, "
        "accuracy and the recovery of mislabeled samples are compared, beside two yardsticks: the "
        "same network from another initialization, and kernels that know only the inputs. Where "
        "training moves the kernel, the prediction ends; a sweep shows where.",
    ),
    "risk_bounds": Section(
        "How far off is a risk measured with soft labels?",
        "A predictor's risk can be estimated with any targets in place of the truth: labels, "
        "smoothed labels, a teacher's predictions. How far off is it then, how much of that is "
        "variance that more samples remove, and how much is bias that they do not? Published "
        "bounds judge a target by its distance from the true posterior. Here the error is "
        "measured on thousands of data sets where the truth is known, beside its exact formula, "
        "the published bounds and the sharp ones.",
    ),
    "learning_dynamics": Section(
        "How does one sample teach another?",
        "A step of training on one sample moves the predictions on all others: by how unsure "
        "the network is of the other, by how similar the two are to it, and by how wrong it was "
        "on the first. How good is this first-order formula? Along a whole training it splits "
        "what happens to a prediction into the pull of its own label and that of all its "
        "neighbors. On samples with an unlucky label these two disagree: do the neighbors pull "
        "towards the truth, and who wins?",
    ),
    "bias_variance": Section(
        "Do soft labels lower the variance?",
        "It is said that a student of a teacher varies less with its training data than a "
        "student of the labels, that it pays for it with bias, and that this is why "
        "distillation works. Small networks are trained on many draws of the data, with several "
        "teachers each, at several temperatures, and their test error is taken apart into "
        "noise, bias and variance, and the variance into what the data and what the teachers "
        "make of it. Teachers learn from labels as they are or smoothed, or stop early; labels "
        "are right or partly wrong. Beside it stands how many samples are regularization "
        "samples while the students train, and why they count as such.",
    ),
    "smoothing_map": Section(
        "Which softening is which?",
        "Label smoothing, a prior, a penalty on low entropy, distillation from a uniform teacher: "
        "each softens the label, and each says how strongly by another number. On one scale, the "
        "mass left off the label, they become one family, and published settings can be compared. "
        "A small teacher of real digits then shows what one number for all samples leaves out: "
        "which temperature matches it, how its confidences compare with those that Beta smoothing "
        "draws, and whether the weight that a sample has when distillation is read as a prior "
        "follows from what the teacher predicts at all.",
    ),
    "digits_benchmark": Section(
        "Which method makes the better student?",
        "All training methods of the five papers, with their papers' values, train the same small "
        "network on the same digits, some of which are mislabeled. Those that need a teacher share "
        "one, the same network trained on the same labels. Who gains over labels alone, and "
        "by more than the seeds vary? What does it change to report the best epoch on the test set "
        "in place of the last? And what becomes of the wrong labels? This is a benchmark of the "
        "methods in one small setting; the networks and images of the papers are the work of "
        "stillroom bench, which lists and compares these runs too.",
    ),
}

# Told after those, and only where there is a result: they are made of the user's own data.
OWN: dict[str, Section] = {
    "comparison": Section(
        "Your networks",
        "A student of yours beside its teacher, sample by sample, from the logits of both. How "
        "sure is the student where its teacher is unsure, and where it is sure? Do they err on the "
        "same samples, and can their probabilities be trusted? A slope above 1 where the teacher "
        "is least sure means that the student exaggerates; it has to be read beside that of a "
        "control trained without the teacher.",
    ),
}

HOLDS = Mark("holds", "✓", "Holds")
FAILS = Mark("fails", "✗", "Does not hold")
OBSERVED = Mark("observed", "○", "Observed")


def section(experiment: str) -> Section:
    """The words for an experiment; its own name where none are written.

    Example:
        >>> section("loss_landscape").title
        'Loss landscape'
    """
    known = SECTIONS.get(experiment) or OWN.get(experiment)
    return known or Section(experiment.replace("_", " ").capitalize(), "")


def mark(*, holds: bool | None) -> Mark:
    """The mark of a finding; ``None`` where nothing was claimed.

    Example:
        >>> mark(holds=False).word
        'Does not hold'
    """
    if holds is None:
        return OBSERVED
    return HOLDS if holds else FAILS
