"""A protocol whose numbers, metrics or ways change gets a new version, and its version an entry in the kept values."""

import json
from dataclasses import replace

import pytest
from protocol_values import FILE, check

from diptych.evaluation.metrics import paired as pictures
from diptych.evaluation.metrics import table as metric_table
from diptych.evaluation.metrics.table import METRICS
from diptych.evaluation.protocols import PROTOCOLS, find_protocol, paired_default, thin_structures

KEPT = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_gives_what_is_kept_for_its_version(name, tmp_path):
    check(find_protocol(name), KEPT, tmp_path)


def test_a_number_that_changes_asks_for_a_new_version(tmp_path, monkeypatch):
    changed = replace(METRICS["l1"], function=lambda *pair: 1.01 * pictures.l1(*pair))
    monkeypatch.setattr(metric_table, "METRICS", {**METRICS, "l1": changed})
    with pytest.raises(
        AssertionError,
        match=r"l1 of thin-structures/1 was .*: raise its version in diptych\.evaluation\.protocols\.thin",
    ):
        check(thin_structures.PROTOCOL, KEPT, tmp_path)


def test_a_list_of_metrics_that_changes_asks_for_a_new_version(tmp_path):
    fewer = {measure: names[:-1] for measure, names in thin_structures.PROTOCOL.metrics.items()}
    with pytest.raises(AssertionError, match="the metrics of thin-structures/1 changed: raise its version"):
        check(replace(thin_structures.PROTOCOL, metrics=fewer), KEPT, tmp_path)


def test_other_ways_ask_for_a_new_version(tmp_path):
    half = replace(thin_structures.PROTOCOL, jobs=lambda method, split, train: [])
    with pytest.raises(AssertionError, match="the jobs of thin-structures/1 changed: raise its version"):
        check(half, KEPT, tmp_path)


def test_a_new_version_asks_for_its_entry(tmp_path):
    with pytest.raises(AssertionError, match="paired-default/99 is a new version of that protocol: add its entry"):
        check(replace(paired_default.PROTOCOL, version=99), KEPT, tmp_path)
