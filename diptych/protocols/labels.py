"""label-maps: label maps made from photographs, pixel by pixel (Isola et al. 2017, Table 6).

Each pixel is of the class whose colour is nearest, by the palette that is given, else that of the judge, else one found
in the true maps, which may lack rare classes: the result says which. Per-pixel accuracy, per-class accuracy and mean
class IoU, beside L1.
"""

from collections.abc import Iterator

from diptych.data.columns import Pictures
from diptych.evaluate import measures
from diptych.evaluate.palette import Palette, palette_of
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools
from diptych.protocols import Protocol, each_route


def scores(samples: Samples, tools: Tools) -> Iterator[Score]:
    if tools.palette:
        palette = tools.palette
        tools.used["palette"] = str(palette)
    elif tools.judge:
        palette = Palette.of(tools.the_judge())
    else:
        palette = palette_of(Pictures(tuple(samples.files("truth"))))
    yield from measures.as_label_maps(samples, tools, palette)
    yield from measures.to_truth(samples, tools)


PROTOCOL = Protocol("label-maps", 1, __doc__, scores, each_route)
