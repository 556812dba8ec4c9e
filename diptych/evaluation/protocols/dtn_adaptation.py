"""dtn-adaptation: unsupervised domain adaptation, as in Taigman et al. (2017, Table 2).

Labelled sources are translated; a classifier is trained on the translations with the labels of the sources, and tested
on real images of the target domain, those held out by the evaluator. `train` translates the training sources,
`held-out` those of the evaluated split. The ceiling is the accuracy of the evaluator, which was trained on real images.
"""

from dataclasses import replace

from diptych.contract import Method
from diptych.data.dataset import Split
from diptych.evaluation.metrics.adaptation import adapted_accuracy
from diptych.evaluation.protocols import Protocol, dtn_digits
from diptych.evaluation.samples import TranslationJob


def jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return a job with the training sources, and one with those of `split`. EvaluationError as `dtn-digits`."""
    (held_out,) = dtn_digits.jobs(method, split, train)
    (training,) = dtn_digits.jobs(method, train, train)
    return [
        replace(training, name="train", targets=held_out.targets, aligned=False, target_name="target"),
        replace(held_out, name="held-out", aligned=False, target_name="target"),
    ]


PROTOCOL = Protocol("dtn-adaptation", 1, __doc__, jobs, {adapted_accuracy: ("adapted-accuracy",)}, needs_evaluator=True)
