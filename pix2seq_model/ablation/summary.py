"""The results of an ablation as tables: mean and spread over the seeds of every setting.

<output>/ablation.json   everything, each seed's numbers among it
<output>/ablation.csv    a line for each setting
"""

import csv
import dataclasses
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from pix2seq_model.ablation.trials import TRIALS_FOLDER, Trial, TrialResult, ablation_settings
from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.json_file import read_json

JSON_FILE = "ablation.json"
CSV_FILE = "ablation.csv"
METRICS = {"AP": "AP", "AP50": "AP50", "AR100": "AR@100"}  # and how they are written

_ORDER_NAMES = {
    "class_area": "class, then area",
    "class_distance": "class, then distance",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A setting with what each seed gave.

    Attributes:
      question: "bins", "order" or "noise".
      group: for "noise", where training started from and whether there were noise objects.
      setting: that was varied: the bins, the order, the offset on the end token.
      is_usual: whether it is the one that the others are compared with.
      values: by metric, the numbers in the order of the seeds.
    """

    question: str
    group: str = ""
    setting: str
    is_usual: bool
    values: Mapping[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        return statistics.fmean(self.values[metric])

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one seed."""
        values = self.values[metric]
        return statistics.stdev(values) if len(values) > 1 else None

    def text(self, metric: str) -> str:
        """ "0.123 ± 0.004"."""
        spread = self.spread(metric)
        return f"{self.mean(metric):.3f}" + ("" if spread is None else f" ± {spread:.3f}")

    def against(self, other: "Row", metric: str) -> str:
        """How it compares with another, seed by seed: "-0.012, lower for 3 of 3"."""
        if self is other:
            return ""
        differences = [a - b for a, b in zip(self.values[metric], other.values[metric])]
        if not any(differences):
            return "the same"
        mean = statistics.fmean(differences)
        word = "lower" if mean < 0 else "higher"
        same = sum((d < 0) == (mean < 0) and d != 0 for d in differences)
        return f"{mean:+.3f}, {word} for {same} of {len(differences)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What an ablation found.

    Attributes:
      rows: of all questions, in the order of the config.
      facts: what was trained on what, for people.
      seeds: of the trials.
      trials: every trial's result as plain values.
    """

    rows: tuple[Row, ...]
    facts: Mapping[str, str]
    seeds: tuple[int, ...]
    trials: tuple[dict[str, Any], ...]

    def of(self, question: str) -> list[Row]:
        return [row for row in self.rows if row.question == question]

    def groups(self, question: str) -> dict[str, list[Row]]:
        """Rows by group."""
        groups: dict[str, list[Row]] = {}
        for row in self.of(question):
            groups.setdefault(row.group, []).append(row)
        return groups

    def text(self) -> str:
        """The tables for a terminal."""
        return "\n".join(_text_lines(self))


def usual_of(rows: Sequence[Row]) -> Row | None:
    """The row that the others are compared with, if it is among them."""
    return next((row for row in rows if row.is_usual), None)


QUESTIONS = {
    "bins": ("Bins of a coordinate", "bins"),
    "order": ("Order of the objects", "order"),
    "noise": ("Noise objects and the end token", "offset on the end token"),
}


def summarize(
    config: ConfigDict,
    results: Sequence[TrialResult],
    *,
    examples: Mapping[str, epath.PathLike],
    output_dir: epath.PathLike,
) -> Summary:
    """Sorts results by question.

    Args:
      config: the ablation's.
      results: of all trials.
      examples: examples folder by training stage.
      output_dir: with the trials' folders.
    """
    by_trial = {result.trial: result for result in results}
    return Summary(
        rows=tuple(_rows(config, by_trial)),
        facts=_facts(config, results, examples, epath.Path(output_dir) / TRIALS_FOLDER),
        seeds=tuple(config.ablation.seeds),
        trials=tuple(result.to_json() for result in results),
    )


def write_tables(output_dir: epath.PathLike, summary: Summary) -> None:
    """Writes ablation.csv and ablation.json."""
    output = epath.Path(output_dir)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [f"{metric}_{part}" for metric in METRICS for part in ("mean", "stdev")]
    writer.writerow(["question", "group", "setting", "seeds", *columns])
    for row in summary.rows:
        values = [v for metric in METRICS for v in (row.mean(metric), row.spread(metric))]
        numbers = ["" if value is None else f"{value:.6f}" for value in values]
        writer.writerow([row.question, row.group, row.setting, len(summary.seeds), *numbers])
    write_atomically(output / CSV_FILE, buffer.getvalue())
    content = {
        "facts": dict(summary.facts),
        "seeds": list(summary.seeds),
        "rows": [dataclasses.asdict(row) for row in summary.rows],
        "trials": list(summary.trials),
    }
    write_json(output / JSON_FILE, content)


def _rows(config: ConfigDict, by_trial: Mapping[Trial, TrialResult]) -> Iterator[Row]:
    section = ablation_settings(config)
    usual = {
        "num_bins": config.vocabulary.num_bins,
        "order": config.finetune.sequence.order,
        "augmented": True,
    }

    def row(
        question: str, setting: str, *, offset: float = 0.0, group: str = "", **changes: Any
    ) -> Row:
        found = [
            by_trial[Trial(**{**usual, **changes}, seed=seed)].metrics[offset]
            for seed in section.seeds
        ]
        return Row(
            question=question,
            group=group,
            setting=setting,
            is_usual=all(usual[name] == value for name, value in changes.items())
            if question != "noise"
            else offset == 0.0,
            values={metric: tuple(numbers[metric] for numbers in found) for metric in METRICS},
        )

    for bins in section.bins:
        yield row("bins", str(bins), num_bins=bins)
    for order in section.orders:
        yield row("order", _ORDER_NAMES.get(order, order), order=order)
    for pretrained, augmented in section.starts:
        for offset in section.end_token_offsets:
            yield row(
                "noise",
                f"{offset:g}",
                offset=float(offset),
                group=_group(pretrained, augmented),
                pretrained=pretrained,
                augmented=augmented,
            )


def _group(pretrained: bool | None, augmented: bool) -> str:
    noise = "noise objects" if augmented else "no noise objects"
    if pretrained is None:
        return f"from scratch, {noise}"
    if pretrained == augmented:
        return f"after pretraining, {noise}"
    return f"after pretraining {'with' if pretrained else 'without'} noise objects, {noise}"


def _facts(
    config: ConfigDict,
    results: Sequence[TrialResult],
    examples: Mapping[str, epath.PathLike],
    trials_dir: epath.Path,
) -> dict[str, str]:
    data = read_dataset_info(examples["finetune"])
    train, tested = data.split(config.finetune.split), data.split(config.evaluation.split)
    stage, model = config.finetune, config.model
    stem = "ViT" if model.backbone == "vit" else f"ResNet-{model.resnet_depth}"
    if model.backbone == "resnet" and model.resnet_width_multiplier != 1:
        stem += f" of {model.resnet_width_multiplier:g} × its width"
    height, width = stage.image_size
    facts = {
        "Data": f"{data.name}: {train.num_examples:,} images to train on, "
        f"{tested.num_examples:,} images with {tested.num_objects:,} objects to evaluate on, "
        f"{len(data.categories)} classes",
        "Network": f"{stem} at {height}×{width} px, encoder of {model.num_encoder_layers} and "
        f"decoder of {model.num_decoder_layers} layers of width {model.dim_decoder}",
        "Training": f"{stage.steps:,} steps of {stage.batch_size} images; order "
        f"{stage.sequence.order}, {config.vocabulary.num_bins} bins and noise objects unless "
        "said otherwise",
        "Seeds": f"{len(config.ablation.seeds)}: {', '.join(map(str, config.ablation.seeds))}; "
        "± is the standard deviation over them",
    }
    run_file = trials_dir / results[-1].trial.name / "model" / "run.json"
    record = read_json(run_file, fix=f"delete {run_file.parent.parent} to do the trial again")
    hardware, packages = record["hardware"], record["packages"]
    facts["Ran on"] = (
        f"{', '.join(hardware['devices'])} of a machine with {hardware['cpu_count']} cores; "
        f"{hardware['backend']} {packages.get(hardware['backend'], '')}; "
        f"{sum(result.seconds for result in results) / 60:.0f} min for {len(results)} trials"
    )
    facts["Finished"] = record["finished_at"]
    return facts


def _text_lines(summary: Summary) -> Iterator[str]:
    for name, (title, varied) in QUESTIONS.items():
        for group, rows in summary.groups(name).items():
            heading = title + (f", {group}" if group else "")
            usual = usual_of(rows)
            width = max(len(varied), *(len(row.setting) for row in rows))
            columns = "".join(f"{label:>17}" for label in METRICS.values())
            yield ""
            yield f"{heading}: mean ± standard deviation over {len(summary.seeds)} seeds"
            yield f"{varied:<{width}}{columns}" + (
                f"   AP against {usual.setting}" if usual else ""
            )
            for row in rows:
                numbers = "".join(f"{row.text(metric):>17}" for metric in METRICS)
                compared = f"   {row.against(usual, 'AP')}" if usual else ""
                yield f"{row.setting:<{width}}{numbers}{compared}".rstrip()
