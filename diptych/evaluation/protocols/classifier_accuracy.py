"""told-apart: real pictures that a judge of classes never saw, and whether it names the class of each.

Accuracy, and the mean of it by class, beside what naming the most frequent class would give. `diptych judge train`
leaves it: the ceiling of what the judge can say of translations. A row of the samples names its class as `label`.
"""

from diptych.evaluation.metrics.on_samples import classifier_accuracy
from diptych.evaluation.protocols import Protocol, each_route

PROTOCOL = Protocol(
    "told-apart",
    1,
    __doc__,
    each_route,
    {
        classifier_accuracy: ("accuracy", "class-accuracy"),
    },
    needs_judge=True,
)
