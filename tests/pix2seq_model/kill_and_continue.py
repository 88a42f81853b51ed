"""Runs that are killed on the way and continued, beside runs that are left alone.

    python -m tests.pix2seq_model.kill_and_continue ROOT EXAMPLES SEED

For each setting: one run undisturbed; one that dies by SIGKILL, then stops by SIGTERM, each after
a random step, and is then let finish. Prints a line of JSON for each. The runs are forks of this
process, which has imported everything and computed nothing: an import takes longer than a run.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pix2seq_model.errors import UserError
from pix2seq_model.model_folder.folder import read_model_info
from pix2seq_model.training import train as training
from tests.pix2seq_model import tiny_run

_STEPS = 60
SETTINGS = {
    "plain": {},
    # Everything that has a state of its own: the average, the half-accumulated gradients.
    "rich": {
        "ema_decay": 0.9,
        "accumulation_steps": 2,
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
    },
}


def _fork(root: Path, examples: Path, settings: dict[str, Any]) -> int:
    """Starts a run; its standard error goes to a file in `root`. Returns its process id."""
    root.mkdir(parents=True, exist_ok=True)
    if process := os.fork():
        return process
    with (root / "stderr").open("a") as file:
        os.dup2(file.fileno(), 2)
    status = 1
    try:
        training.export_model_folder = lambda *_, **__: None
        tiny_run.train(root, examples, steps=_STEPS, **settings)
        status = 0
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        status = 2
    finally:
        os._exit(status)


def _exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _signal_after(root: Path, batch: int, process: int, number: signal.Signals) -> int:
    """Sends a signal once there is a checkpoint of a batch or a later one; returns the end."""
    while not any(int(path.name[5:14]) >= batch for path in root.glob("work/checkpoints/*.npz")):
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            raise SystemExit(f"ended too early: {(root / 'stderr').read_text()}")
        time.sleep(0.002)
    os.kill(process, number)
    return _exit_code(process)


def _kill_and_continue(
    root: Path, examples: Path, settings: dict[str, Any], chance: random.Random
) -> dict[str, Any]:
    whole = _exit_code(_fork(root / "whole", examples, settings))
    killed = root / "killed"
    exits, left_a_model = [], False
    for number, first, last in ((signal.SIGKILL, 1, 20), (signal.SIGTERM, 25, 45)):
        process = _fork(killed, examples, settings)
        exits.append(_signal_after(killed, chance.randint(first, last), process, number))
        left_a_model |= (killed / "model/model.json").exists()
    last = _exit_code(_fork(killed, examples, settings))
    text = (killed / "stderr").read_text()
    if whole or last:
        raise SystemExit(text + (root / "whole/stderr").read_text())
    history = [root / name / "model/history/finetune.jsonl" for name in ("whole", "killed")]
    infos = [read_model_info(root / name / "model") for name in ("whole", "killed")]
    return {
        "exits": exits,
        "left_a_model": left_a_model,
        "says_how_to_continue": "Run the same command to continue" in text,
        "equal_weights": infos[0].weights_sha256 == infos[1].weights_sha256,
        "equal_history": history[0].read_text() == history[1].read_text(),
        "restarts": json.loads((killed / "model/run.json").read_text())["restarts"],
    }


def main(root: Path, examples: Path, seed: int) -> None:
    chance = random.Random(seed)
    for name, settings in SETTINGS.items():
        result = _kill_and_continue(root / name, examples, settings, chance)
        print(json.dumps({"settings": name, **result}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
