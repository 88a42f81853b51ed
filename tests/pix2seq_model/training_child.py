"""A tiny training run in a process of its own, alone or as one of several workers.

    python -m tests.pix2seq_model.training_child ROOT EXAMPLES SETTINGS

SETTINGS is JSON: settings of the stage, "model" with fields of the architecture, and
"tensorflow_devices", into how many devices TensorFlow's CPU is split.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]


def start(
    root: Path,
    examples: Path,
    settings: dict[str, Any],
    *,
    backend: str,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen:
    """Starts a run whose folders lie below `root`; its standard error is a pipe."""
    variables = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(_REPOSITORY),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": str(examples.parent / "jax_cache"),
        # The code is run a few dozen times: what it gains by optimization it never pays back.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        **(environment or {}),
    }
    command = [sys.executable, "-m", "tests.pix2seq_model.training_child"]
    command += [str(root), str(examples), json.dumps(settings)]
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)


def start_workers(
    root: Path, examples: Path, settings: dict[str, Any], *, backend: str, number: int = 2
) -> list[subprocess.Popen]:
    """Starts the workers of one run, the chief first."""
    addresses = [f"localhost:{_free_port()}" for _ in range(number)]
    return [
        start(
            root,
            examples,
            settings,
            backend=backend,
            environment={
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": addresses},
                        "task": {"type": "worker", "index": index},
                    }
                )
            },
        )
        for index in range(number)
    ]


def finish(*children: subprocess.Popen, timeout_s: float = 600) -> list[str]:
    """Waits for children that must end well; returns what they wrote to standard error."""
    texts = [child.communicate(timeout=timeout_s)[1] for child in children]
    for child, text in zip(children, texts, strict=True):
        assert child.returncode == 0, text
    return texts


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def _run(root: Path, examples: Path, settings: dict[str, Any]) -> None:
    from pix2seq_model.experiment.loading import training_run
    from pix2seq_model.training import train as training
    from tests.pix2seq_model import tiny_run

    training.export_model_folder = lambda _, folder, **__: folder.mkdir()
    model = settings.pop("model", {})
    if number := settings.pop("tensorflow_devices", 0):
        training.join_replicas = lambda: _split_cpu(number)
    config = tiny_run.config(**settings)
    with config.unlocked():
        config.model.update(model)
    training.train(
        training_run(config, "finetune"),
        examples_dir=examples,
        model_dir=root / "model",
        work_dir=root / "work",
        logs_dir=root / "logs",
    )


def _split_cpu(number: int):
    """As several GPUs of one machine."""
    import tensorflow as tf

    from pix2seq_model.training.replicas import Replicas

    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, parts)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(number)])
    return Replicas(num_devices=number, strategy=strategy)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
