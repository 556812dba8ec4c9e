"""label-maps: label maps made from photographs, pixel by pixel (Isola et al. 2017, Table 6).

Each pixel is of the class whose colour is nearest; the palette is that of a judge, where one is given, else it is found
in the true maps. Per-pixel accuracy, per-class accuracy and mean class IoU, beside L1.
"""

from collections.abc import Iterator

from diptych.data import image
from diptych.evaluate import measures
from diptych.evaluate.palette import Palette, find_palette
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route

LOOKED_AT = 200  # true maps that the palette is found in


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    if tools.judge:
        palette = Palette.of(tools.the_judge())
    else:
        palette = find_palette([image.read(file) for file in samples.files("truth")[:LOOKED_AT]])
    yield from measures.as_label_maps(samples, tools, palette)
    yield from measures.to_truth(samples, tools)


PROTOCOL = Protocol("label-maps", 1, __doc__, scores, each_route)
