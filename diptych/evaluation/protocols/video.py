"""video: temporal consistency of translated frames, by the warping error along the optical flow of the source.

The images are successive frames of clips, with names such as clip_000012.png, as `diptych data frames --all-frames`
writes them. The warping error of the source frames is that of noise, light and errors of the flow.
"""

from diptych.evaluation.metrics.temporal import warping_scores
from diptych.evaluation.protocols import Protocol, route_jobs

PROTOCOL = Protocol(
    "video",
    1,
    __doc__,
    route_jobs,
    {warping_scores: ("warping-error", "warping-error-source")},
    whole_images=True,
)
