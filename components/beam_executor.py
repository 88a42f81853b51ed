"""How our executors take the arguments for their Beam jobs."""

from tfx.dsl.components.base import base_beam_executor


class BeamArguments(base_beam_executor.BaseBeamExecutor):
    """An executor whose Beam jobs get the component's arguments as they are.

    If there is any argument for Beam, TFX's own constructor packs TFX's sources for the workers,
    which takes many seconds; ours are in the image or in this process.
    """

    def __init__(self, context: base_beam_executor.BaseBeamExecutor.Context | None = None) -> None:
        beam_args = list((context and context.beam_pipeline_args) or [])
        if context is not None:
            context.beam_pipeline_args = None
        super().__init__(context)
        self._beam_pipeline_args = beam_args
