"""Dynamic batches: which requests are translated together, and that it changes no bit."""

import io
import os
import time

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_files import metadata, write_onnx
from translators import made

import diptych
from diptych.serving.job_groups import BatchCheck, JobGroups, translations
from diptych.serving.jobs import Job
from diptych.serving.messages import read_message
from diptych.serving.server_options import ServerOptions, named_sources
from diptych.serving.worker import Worker


def job(number, group=("a",), **fields):
    return Job(number, None, "model", "png", {}, group=group, **fields)


def numbers(jobs):
    return [each.number for each in jobs]


def test_jobs_of_equal_groups_come_together_and_full_groups_first():
    groups = JobGroups(max_batch=2, seconds=60)
    for number, group in enumerate([("a",), ("b",), ("b",), ("b",)]):
        groups.add(job(number, group))
    assert groups.full() == ("b",)
    assert [numbers(groups.pop()) for _ in range(3)] == [[1, 2], [0], [3]]
    assert groups.wait_seconds() is None


def test_a_job_without_a_group_is_alone_and_waits_for_no_other():
    groups = JobGroups(8, 60)
    for number in (0, 1):
        groups.add(job(number, ()))
    assert groups.full() == (0,)
    assert [numbers(groups.pop()) for _ in range(2)] == [[0], [1]]


def test_a_group_waits_for_the_latency_and_a_cancelled_job_for_nothing():
    groups = JobGroups(8, 0.05)
    groups.add(job(0))
    assert 0 < groups.wait_seconds() <= 0.05
    groups.add(job(1))
    time.sleep(0.06)
    assert (groups.wait_seconds(), groups.full()) == (0, None)
    groups.remove(0)
    assert numbers(groups.pop()) == [1]
    groups.add(job(2))
    groups.remove(2)
    assert groups.wait_seconds() is None


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_batch_has_the_bits_of_single_images(tmp_path, kind):
    if kind == "torch":
        translator = made("cyclegan")
    else:
        weights = numpy_helper.from_array(np.random.default_rng(1).normal(0, 0.1, (3, 3, 5, 5)).astype(np.float32), "w")
        convolution = helper.make_node("Conv", ["image", "w"], ["translation"], pads=[2, 2, 2, 2])
        translator = diptych.load(write_onnx(tmp_path / "model.onnx", metadata(), [convolution], [weights]))
    random = np.random.default_rng(0)
    jobs = [Job(n, translator, "m", "png", {}, random.uniform(-1, 1, (3, 20, 28)).astype(np.float32)) for n in range(7)]
    check = BatchCheck()
    for each, translation in zip(jobs, translations(jobs, check), strict=True):
        assert np.array_equal(translation, translator.translate_batch(each.x[None])[0])
    sizes = {key[2] for key, is_exact in check._known.items() if is_exact}
    assert kind == "torch" or sizes == {4, 2}


def test_one_image_that_fails_does_not_fail_its_batch(tmp_path):
    logarithm = helper.make_node("Log", ["image"], ["translation"])
    translator = diptych.load(write_onnx(tmp_path / "model.onnx", metadata(), [logarithm]))
    options = ServerOptions(models=named_sources(["m"]))
    read, _ = os.pipe()  # which stays open: its end would be that of the process
    answers = io.BytesIO()
    worker = Worker(options, {"m": translator}, os.fdopen(read, "rb"), answers)
    images = [np.full((3, 4, 4), level, np.float32) for level in (1.0, -1.0, 0.9)]  # the second has no logarithm
    worker._compute([Job(number, translator, "m", "png", {}, image) for number, image in enumerate(images)])
    worker.encoders.shutdown()
    answers.seek(0)
    said = {}
    while message := read_message(answers):
        said.setdefault(message[0]["kind"], {})[message[0].get("number")] = message[0]
    assert set(said["done"]) == {0, 2}
    assert (said["refused"][1]["status"], "not finite" in said["refused"][1]["reason"]) == (422, True)


def test_images_that_a_batch_would_change_are_translated_one_by_one():
    class Changing:
        """A network whose output depends on the number of images, as that of kernels that sum in another order."""

        sizes = []

        def translate_batch(self, x, label="", **controls):
            self.sizes.append(len(x))
            return x + np.float32(1e-6 * (len(x) - 1))

    translator = Changing()
    jobs = [Job(n, translator, "m", "png", {}, np.full((1, 2, 2), n, np.float32)) for n in range(3)]
    check = BatchCheck()
    assert [float(each.max()) for each in translations(jobs, check)] == [0, 1, 2]
    translator.sizes.clear()
    translations(jobs, check)
    assert translator.sizes == [1, 1, 1], "the check is done once"
