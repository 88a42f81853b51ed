"""Which processes a run has, by the environment, and which batches they can share."""

import json

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.training.replicas import Cluster, Replicas, cluster_of


def _tf_config(cluster, job="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


def test_a_process_of_its_own():
    assert cluster_of({}) is None
    assert cluster_of({"TF_CONFIG": ""}) is None
    assert cluster_of({"TF_CONFIG": "{}"}) is None


def test_vertex_names_even_a_single_worker():
    assert cluster_of(_tf_config({"chief": ["a:1"]}, job="chief")) is None


def test_the_chief_comes_before_the_workers():
    jobs = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    assert cluster_of(_tf_config(jobs, job="chief")) == Cluster("a:1", 3, 0)
    assert cluster_of(_tf_config(jobs, index=1)) == Cluster("a:1", 3, 2)


def test_without_a_chief_the_first_worker_is_it():
    assert cluster_of(_tf_config({"worker": ["a:1", "b:2"]}, index=1)) == Cluster("a:1", 2, 1)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG='{' cannot be read"),
        (_tf_config({"worker": ["a:1", "b:2"]}, index=2), "cannot be read"),
        (_tf_config({"worker": ["a:1", "b:2"]}, job="evaluator"), "cannot be read"),
        (_tf_config({"worker": ["a:1", "b:2"], "ps": ["c:3"]}), "names ps"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1"}, "set KERAS_DISTRIBUTION_NUM_PROCESSES"),
        (
            {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b:2",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
                "KERAS_DISTRIBUTION_PROCESS_ID": "2",
            },
            r"PROCESS_ID=2 must lie in 0\.\.1",
        ),
    ],
)
def test_what_cannot_be_is_refused(environment, message):
    with pytest.raises(ConfigError, match=message):
        cluster_of(environment)


def test_keras_own_variables():
    environment = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b:2",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": "1",
    }
    assert cluster_of(environment) == Cluster("a:1", 2, 1)


def _check(batch_size, *, devices, accumulation_steps=1):
    Replicas(num_devices=devices).check_share(
        batch_size, accumulation_steps=accumulation_steps, name="finetune.batch_size"
    )


def test_batches_that_divide():
    _check(8, devices=4)
    _check(8, devices=4, accumulation_steps=2)


@pytest.mark.parametrize(
    ("batch_size", "devices", "accumulation_steps", "message"),
    [
        (10, 4, 1, r"finetune.batch_size=10 .* over 4 devices: choose 8 or 12"),
        (10, 2, 4, r"finetune.accumulation_steps=4 batches over 2 devices: choose 8 or 16"),
        (3, 4, 1, r"choose 4\."),
    ],
)
def test_batches_that_do_not_divide(batch_size, devices, accumulation_steps, message):
    with pytest.raises(ConfigError, match=message):
        _check(batch_size, devices=devices, accumulation_steps=accumulation_steps)


def test_a_process_alone_agrees_with_itself():
    assert Replicas().gather([3, 4]).tolist() == [[3, 4]]
    Replicas().check_same(7, "the step")
