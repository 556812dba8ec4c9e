"""classifier-accuracy: the accuracy of a classifier on held-out real images.

Accuracy and mean accuracy over classes, with the chance level of always predicting the most frequent class. `diptych
evaluator train` computes it: it is the ceiling of scores by this classifier. Each row of the samples has its class as
`label`.
"""

from diptych.evaluation.metrics.on_samples import classifier_accuracy
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "classifier-accuracy",
    1,
    __doc__,
    route_jobs,
    {
        classifier_accuracy: ("accuracy", "class-accuracy"),
    },
    needs_evaluator=True,
)
