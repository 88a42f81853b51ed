"""What all tests share: the order of the files, and what makes compiling and starting cheap."""

import gc
import os
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

from tests.fixtures.beam_startup import keep_answers

# Before anything imports TensorFlow or JAX, here or in a child. A test runs the code that it
# compiles a few dozen times: optimizing it takes longer than it saves, and so does generating it by
# way of MLIR or in several parts. The processes of a machine share its cores, and what XLA compiled
# in one of them serves the others, and later runs.
_XLA_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
_CACHE = Path(__file__).parents[1] / ".pytest_cache"
_XLA = f"xla-{version('tensorflow')}-{zlib.crc32(' '.join(_XLA_FLAGS).encode()):08x}"
_ENVIRONMENT = {
    "XLA_FLAGS": " ".join(_XLA_FLAGS),
    # TensorFlow does not look at which version has written an entry, nor with which flags.
    "TF_XLA_FLAGS": f"--tf_xla_persistent_cache_directory={_CACHE}/{_XLA}",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JAX_COMPILATION_CACHE_DIR": f"{_CACHE}/jax",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
# To rewrite the assertions of all tests is a third of what a worker does before its first test:
# done once, even where the environment asks Python to keep no bytecode.
sys.dont_write_bytecode = False

# Files that train by the same settings: one worker takes them all, and traces each step once.
_TRAININGS = (
    "pix2seq_model/training/test_train.py",
    "pix2seq_model/training/test_training_survival.py",
    "pix2seq_model/training/test_compiled_steps.py",
    "pix2seq_model/ablation/test_runner.py",
)
# The files that take longest, first: a worker that meets one last leaves the other one idle.
# (`make test` hands out whole files, in this order.)
_LONGEST_FIRST = (
    *_TRAININGS,
    "pipelines/test_run_pipeline.py",
    "pix2seq_model/training/test_loop.py",
    "pix2seq_model/decoding/test_generate.py",
    "pix2seq_model/input_pipeline/test_datasets.py",
    "pix2seq_model/network/test_pix2seq.py",
    "pix2seq_model/network/test_network_parts.py",
    "pix2seq_model/test_reference_check.py",
    "pix2seq_model/test_api.py",
    "pix2seq_model/evaluation/test_evaluate.py",
    "components/conversion/test_planted_defects.py",
    "pipelines/test_dataset_commands.py",
    "pix2seq_model/decoding/test_sampling.py",
    "pix2seq_model/published/test_checkpoint.py",
    "pix2seq_model/network/test_initial_weights.py",
    "pipelines/test_cache_keys.py",
    "pipelines/vertex/test_preflight.py",
    "pix2seq_model/training/test_published_training.py",
    "pix2seq_model/training/test_early_stopping.py",
    "pipelines/vertex/test_job.py",
    "pipelines/vertex/test_job_settings.py",
    "components/conversion/test_conversion.py",
)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


class _Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid):
        return "trainings" if _file(nodeid) in _TRAININGS else super()._split_scope(nodeid)


def pytest_xdist_auto_num_workers(config):
    # A further worker would import everything once more, and share the same cores.
    return len(os.sched_getaffinity(0))


def pytest_xdist_make_scheduler(config, log):
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish():
    if "apache_beam" in sys.modules:  # Some test of this process uses it.
        keep_answers()
    # What is imported stays: looking through all of it for garbage, each time that a graph is
    # traced, was a fifth of what tests with TensorFlow took.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    place = {name: index for index, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(_file(item.nodeid), len(place)))
