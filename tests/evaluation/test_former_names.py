"""Results under former names of protocols and of the evaluator are read with the present names."""

import json

import pytest

from diptych.errors import EvaluationError
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.results import check_comparable, protocol_names, read_result


@pytest.mark.parametrize(("former", "present"), [("told-apart", "classifier-accuracy"), ("drawn", "unconditional")])
def test_a_former_result_is_comparable_with_a_present_one(tmp_path, former, present):
    with pytest.raises(EvaluationError, match=f"{former}' is now {present}"):
        find_protocol(former)
    assert protocol_names(present) == (present, former)
    common = {"name": "x", "said": [], "scores": [], "images": {"real": "1"}}
    old = {"protocol": f"{former}/1", "about": {"protocol": f"{former}/1"}, **common}
    new = {"protocol": f"{present}/1", "about": {"protocol": f"{present}/1"}, **common}
    (tmp_path / "old.json").write_text(json.dumps({**old, "tools": {"judge": "c 1", "extractor": "judge:c 1"}}))
    (tmp_path / "new.json").write_text(json.dumps({**new, "tools": {"evaluator": "c 1", "extractor": "evaluator:c 1"}}))
    results = [read_result(tmp_path / name) for name in ("old.json", "new.json")]
    assert results[0] == results[1]
    check_comparable(results)
