"""Trains as a custom job on Vertex AI: the step starts it and waits for its end.

Separate from `trainer`, because Google's client takes seconds to import.
"""

from tfx.dsl.components.base import executor_spec
from tfx.extensions.google_cloud_ai_platform.trainer import executor as cloud_executor

from components import trainer


class Executor(cloud_executor.GenericExecutor):
    """Starts a job with the machines that `custom_config` describes; it runs `trainer.Executor`."""

    def _GetExecutorClass(self) -> type:  # noqa: N802
        return trainer.Executor


class CustomJobTrainer(trainer.Trainer):
    """`Trainer` on machines of its own."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
