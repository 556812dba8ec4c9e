"""dtn-left-out: the accuracy of a classifier on the translations of each class, as in Taigman et al. (2017, Table 3).

The paper leaves a digit out of the training images of source, target, or of f, and asks whether it is still translated.
Otherwise as `dtn-digits`, whose scores this protocol gives too.
"""

from diptych.evaluation.metrics.on_samples import classifier_accuracy, classifier_accuracy_of_classes
from diptych.evaluation.protocols import Protocol
from diptych.evaluation.protocols.dtn_digits import METRICS, jobs

PROTOCOL = Protocol(
    "dtn-left-out",
    1,
    __doc__,
    jobs,
    {classifier_accuracy: METRICS, classifier_accuracy_of_classes: ("accuracy",)},
    needs_evaluator=True,
)
