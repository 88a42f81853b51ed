"""Weights & Biases, as one of the loggers; see `tracker`."""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from pix2seq_model.training.tracker import FINISHED, TrackedRun


class WandbTracker:
    """By the package `wandb`; who logs in and where, it reads from its own environment variables.

    Those are WANDB_API_KEY, WANDB_BASE_URL, WANDB_ENTITY and WANDB_MODE: "offline" keeps the run on
    this machine, for `wandb sync`.
    """

    name = extra = "wandb"

    def __init__(self) -> None:
        self._run: Any = None
        # Of a run that begins: one for all attempts, since a failed one may have created it.
        self._new_id = uuid.uuid4().hex[:12]

    def open(self, run: TrackedRun, run_id: str | None) -> str:
        # Here, since few installations have it, and it takes seconds.
        import wandb

        run_id = run_id or self._new_id
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run_id,
            resume="allow",
            # Of one process, which may train several stages.
            reinit="create_new",
            dir=None if os.environ.get("WANDB_DIR") else run.folder,
            config={**run.parameters, **run.tags},
            allow_val_change=True,
            settings=wandb.Settings(
                # The training prints by itself, and its record names the code.
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
            ),
        )
        # Steps of its own must rise: those that are trained again after a kill would be lost.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        return run_id

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self, outcome: str) -> None:
        self._run.finish(exit_code=0 if outcome == FINISHED else 1)
