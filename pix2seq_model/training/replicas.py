"""The devices and processes that share the batches of a training run.

Each batch is shared out over all devices of all processes. Losses, batch statistics and gradients
are those of the whole batch, and every process holds all weights and changes them alike: the run
is the one that a single device would make.

TensorFlow: several processes by `TF_CONFIG`, joined by tf.distribute's collectives. Keras 3 itself
cannot fit over them (github.com/keras-team/keras/issues/20585), so its variables stay plain ones of
their process; see `ReplicatedStep`. JAX: `jax.distributed` and a `keras.distribution.DataParallel`,
with arrays that lie across all devices. There the processes are named by `TF_CONFIG` as well, or by
KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from pix2seq_model.errors import ConfigError, WorkerLostError
from pix2seq_model.json_file import parse_json
from pix2seq_model.training.settings import nearest_multiples

_KERAS_NAMES = "KERAS_DISTRIBUTION_"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a run.

    Attributes:
      coordinator: host:port of the first of them.
      num_processes: how many there are.
      process_index: which of them this is, from 0.
    """

    coordinator: str
    num_processes: int
    process_index: int


@dataclasses.dataclass(frozen=True)
class Replicas:
    """What a process knows of those it trains with.

    Attributes:
      num_processes: of the run.
      process_index: of this one; 0 is the chief, which alone writes files.
      num_devices: over all processes, each with the same share of a batch.
      strategy: tf.distribute's; None on JAX and where there is one device.
    """

    num_processes: int = 1
    process_index: int = 0
    num_devices: int = 1
    strategy: Any = None

    @property
    def is_chief(self) -> bool:
        return self.process_index == 0

    @property
    def devices_per_process(self) -> int:
        return self.num_devices // self.num_processes

    def gather(self, values: Sequence[int]) -> np.ndarray:
        """The values of every process, (num_processes, len(values)) int32; all must call it."""
        row = np.asarray(values, np.int32)
        if self.num_processes == 1:
            return row[None]
        if self.strategy is None:
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(row))
        table = np.zeros((self.num_processes, len(row)), np.int32)
        table[self.process_index] = row
        return self._sum_over_devices(table).numpy() // self.devices_per_process

    @functools.cached_property
    def _sum_over_devices(self) -> Callable:
        import tensorflow as tf

        def add(mine):
            # The copy lies on the replica's device, without which there is no reduction.
            mine = tf.identity(mine)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, mine)

        @tf.function(reduce_retracing=True)
        def summed(table):
            results = self.strategy.run(add, args=(table,))
            return self.strategy.experimental_local_results(results)[0]

        return lambda table: summed(tf.constant(table))

    def check_share(self, batch_size: int, *, accumulation_steps: int, name: str) -> None:
        """Raises ConfigError, with the nearest that do, where a batch does not divide.

        Args:
          batch_size: examples of a step.
          accumulation_steps: batches that it is taken in.
          name: of the setting, for the message.
        """
        parts = accumulation_steps * self.num_devices
        if batch_size % parts == 0:
            return
        nearest, section = nearest_multiples(batch_size, parts), name.rpartition(".")[0]
        raise ConfigError(
            f"{name}={batch_size} does not divide into {section}.accumulation_steps="
            f"{accumulation_steps} batches over {self.num_devices} devices: choose {nearest}."
        )

    def check_same(self, value: int, name: str) -> None:
        """Raises ConfigError where the processes differ; all must call it."""
        values = self.gather([value])[:, 0].tolist()
        if len(set(values)) > 1:
            raise ConfigError(
                f"The workers differ in {name}: {values}. They must see the same work folder, "
                "data and base model: name folders that all of them can read."
            )

    @contextlib.contextmanager
    def losses_named(self) -> Iterator[None]:
        """Says so where the exchange with the other processes breaks down.

        Raises:
          WorkerLostError: it did; usually one of them is gone.
        """
        try:
            yield
        except Exception as error:
            if self.num_processes == 1 or not _is_broken_exchange(error):
                raise
            first_line = str(error).strip().partition("\n")[0]
            raise WorkerLostError(
                f"Worker {self.process_index} of {self.num_processes} has lost the others "
                f"({type(error).__name__}: {first_line}): one of them may be gone. Run the same "
                "command on all of them to continue from the last checkpoint."
            ) from error

    def leave(self) -> None:
        """Parts from the others: what comes then, each process does alone."""
        if self.num_processes > 1 and self.strategy is None:
            import jax

            keras.distribution.set_distribution(None)
            jax.distributed.shutdown()


def _is_broken_exchange(error: Exception) -> bool:
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(error, jax.errors.JaxRuntimeError)
    import tensorflow as tf

    kinds = ("Unavailable", "Aborted", "Cancelled", "DeadlineExceeded", "Internal")
    return isinstance(error, tuple(getattr(tf.errors, f"{kind}Error") for kind in kinds))


def join_replicas() -> Replicas:
    """Joins the other processes, if the environment names any, and takes the devices.

    To be called before anything is computed; waits until all processes have come.

    Raises:
      ConfigError: the environment names processes in a way that cannot work.
    """
    if keras.backend.backend() == "jax":
        return _join_jax(cluster_of(os.environ))
    return _join_tensorflow(cluster_of(os.environ))


def cluster_of(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that environment variables describe; None for a process of its own.

    Raises:
      ConfigError: they contradict each other or name parameter servers.
    """
    if environment.get("TF_CONFIG"):
        return _cluster_of_tf_config(environment["TF_CONFIG"])
    addresses = environment.get(f"{_KERAS_NAMES}JOB_ADDRESSES")
    if not addresses:
        return None
    try:
        number = int(environment[f"{_KERAS_NAMES}NUM_PROCESSES"])
        index = int(environment[f"{_KERAS_NAMES}PROCESS_ID"])
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{_KERAS_NAMES}JOB_ADDRESSES is set: set {_KERAS_NAMES}NUM_PROCESSES and "
            f"{_KERAS_NAMES}PROCESS_ID to whole numbers as well ({error})."
        ) from error
    if not 0 <= index < number:
        raise ConfigError(f"{_KERAS_NAMES}PROCESS_ID={index} must lie in 0..{number - 1}.")
    return Cluster(addresses.split(",")[0], number, index) if number > 1 else None


def _cluster_of_tf_config(text: str) -> Cluster | None:
    try:
        content = parse_json(text, source="it", fix="set it again", kind=dict)
        jobs = content.get("cluster", {})
        tasks = {
            (job, index): address
            for job in ("chief", "worker")
            for index, address in enumerate(jobs.get(job, ()))
        }
        if len(tasks) < 2:
            return None
        task = content["task"]["type"], int(content["task"]["index"])
        cluster = Cluster(next(iter(tasks.values())), len(tasks), list(tasks).index(task))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"TF_CONFIG={text!r} cannot be read ({type(error).__name__}: {error}): it must hold "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
        ) from error
    others = sorted(set(jobs) - {"chief", "worker"})
    if others:
        raise ConfigError(
            f"TF_CONFIG names {', '.join(others)}: this training has a chief and workers only."
        )
    return cluster


def _join_jax(cluster: Cluster | None) -> Replicas:
    import jax

    if cluster is not None:
        # The signal to stop is ours; see StopRequest.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(
            coordinator_address=cluster.coordinator,
            num_processes=cluster.num_processes,
            process_id=cluster.process_index,
            cluster_detection_method="deactivate",
        )
    num_devices = jax.device_count()
    if num_devices == 1:
        return Replicas()
    # Our input hands each process its own share.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return Replicas(jax.process_count(), jax.process_index(), num_devices)


def _join_tensorflow(cluster: Cluster | None) -> Replicas:
    import tensorflow as tf

    if cluster is not None:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        number, index = cluster.num_processes, cluster.process_index
        return Replicas(number, index, strategy.num_replicas_in_sync, strategy)
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) < 2:
        return Replicas()
    return Replicas(num_devices=len(gpus), strategy=tf.distribute.MirroredStrategy())
