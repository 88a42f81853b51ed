"""COCO AP of a trained model on the validation images, over several seeds of the sampling."""

import dataclasses
import statistics
from pathlib import Path

from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training.settings import TrainingRun

SAMPLING_SEEDS = (0, 1, 2)


def mean_ap(run: TrainingRun, model: Path, examples: Path) -> float:
    """The mean of the AP of each of `SAMPLING_SEEDS`.

    Args:
      run: which trained the model; its evaluation settings count.
      model: model folder.
      examples: examples folder, with a split "val".
    """
    network, _ = load_model_folder(model)
    truth = read_split_truth(examples, "val")
    evaluations = [
        evaluate_network(network, truth, settings=dataclasses.replace(run.evaluation, seed=seed))
        for seed in SAMPLING_SEEDS
    ]
    return statistics.fmean(evaluation.result.metrics["AP"] for evaluation in evaluations)
