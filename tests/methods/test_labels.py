"""Labels that cannot be meant, and names that would be read as others."""

import pytest
from pydantic import ValidationError

from diptych.contract import Labels
from diptych.evaluation.protocols import safe_names


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"names": ("cat", "cat")}, "two labels have the same name"),
        ({"names": ("", "a")}, "a label has no name"),
        ({"names": ("cat",)}, "need at least two classes"),
        (
            {"names": ("Age, over 30",), "kind": "attributes"},
            "'Age, over 30': names of attributes are separated by commas",
        ),
        ({"names": (" a",), "kind": "attributes"}, "rename it"),
        ({"names": ("a", "b"), "exclusive": (("a", "b"),)}, "exclusive names a, which is no attribute"),
        ({"names": ("a", "b", "c"), "kind": "attributes", "exclusive": (("a", "b"), ("b", "c"))}, "twice"),
    ],
)
def test_labels_that_cannot_be_meant(given, says):
    with pytest.raises(ValidationError, match=says):
        Labels(**given)


def test_a_class_may_be_called_anything():
    assert len(Labels(names=("a, b", " c"))) == 2


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("hair.black", "hair.blond"), ["0_hair", "1_hair"]),
        (("a", "a-b", "b-c", "c"), ["0_a", "1_a-b", "2_b-c", "3_c"]),
        (("x y", "x_y"), ["0_x_y", "1_x_y"]),
    ],
)
def test_no_two_ways_have_one_folder(names, plain):
    assert safe_names(names) == plain
    assert len({f"{a}-{b}" for a in plain for b in plain}) == len(plain) ** 2
