"""The result of a run: a table for people, `summary.json` for programs, a copy of the report.

Everything is read from the folders the stages wrote, so a stage from the cache shows the same as
when it ran.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etils import epath
from rich import box
from rich.console import Console
from rich.table import Column, Table

from components.blessing import DECISION_FILE
from pipelines.local.run import NodeRun
from pipelines.pipeline import NODES
from pipelines.request import Request
from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.json_file import read_json
from pix2seq_model.metrics.coco_files import read_metrics
from pix2seq_model.metrics.coco_metrics import METRIC_KEYS
from pix2seq_model.model_folder.pushed import pushed_record
from pix2seq_model.reports.data_report import FILE_NAME as DATA_REPORT_FILE
from pix2seq_model.reports.settings import REPORT_FILE

SUMMARY_FILE = "summary.json"


def summarize(request: Request, runs: Sequence[NodeRun], *, seconds: float) -> dict[str, Any]:
    """Gathers what the stages wrote; also copies the report to the pipeline root.

    Args:
      request: what was asked for.
      runs: the finished nodes.
      seconds: of the whole run.

    Returns:
      Plain JSON values: `stages`, `data`, and as far as these stages ran `evaluation`, `blessing`,
      `push`, `model`, `report`, `tensorboard`; an entry of `data` has a `report` or None; `scan`
      and `settled`, a list of settings with reasons, where settings follow from the data.
    """
    outputs = {run.node_id: {key: a.uri for key, a in run.outputs.items()} for run in runs}
    summary: dict[str, Any] = {
        "name": request.config.name,
        "config": request.config_name,
        "overrides": list(request.overrides),
        "pipeline_root": request.pipeline_root,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "stages": [
            {
                "node": run.node_id,
                "title": NODES[run.node_id][1],
                "seconds": round(run.seconds, 1),
                "cached": run.cached,
            }
            for run in runs
        ],
        "data": {
            stage: _data(outputs, stage.capitalize())
            for stage in request.converted
            if f"{stage.capitalize()}Examples" in outputs
        },
    }
    if request.scan:
        summary |= {"scan": request.scan_file, "settled": request.scan["settings"]}
    names = [stage.capitalize() for stage in request.training_stages]
    trained = [outputs[name] for name in names if name in outputs]
    if trained:
        summary["model"] = trained[-1]["model"]
        summary["tensorboard"] = [paths["model_run"] for paths in trained]
    if "CocoEvaluator" in outputs:
        summary |= _evaluation(outputs["CocoEvaluator"], request)
    if "EvaluationReport" in outputs:
        page = epath.Path(outputs["EvaluationReport"]["report"]) / REPORT_FILE
        report = epath.Path(request.pipeline_root) / REPORT_FILE
        write_atomically(report, page.read_bytes())
        summary["report"] = str(report)
    if "ModelPusher" in outputs:
        record = pushed_record(outputs["ModelPusher"]["pushed_model"])
        summary["push"] = {"pushed": record is not None, **(record or {})}
    return summary


def write_summary(summary: dict[str, Any], pipeline_root: str) -> Path:
    """Writes `summary.json` and returns its path."""
    path = Path(pipeline_root) / SUMMARY_FILE
    write_json(path, summary, indent=1)
    return path


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints the tables and where things are."""
    console.print()
    console.print(_stage_table(summary))
    if summary["data"]:
        console.print(_data_table(summary))
    if "evaluation" in summary:
        console.print(_metric_table(summary))
    for name, text in _places(summary):
        # Not folded by us, so that a place can be copied.
        console.print(f"{name:<12} {text}", soft_wrap=True, markup=False, highlight=False)


def duration(seconds: float) -> str:
    """3.2 -> "3.2 s", 75 -> "1 min 15 s", 4000 -> "1 h 07 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _data(outputs: dict[str, dict[str, str]], stage: str) -> dict[str, Any]:
    folder = outputs[f"{stage}Examples"]["examples"]
    info = read_dataset_info(folder)
    report = outputs.get(f"{stage}DataReport", {}).get("report")
    return {
        "folder": folder,
        "report": f"{report}/{DATA_REPORT_FILE}" if report else None,
        "categories": len(info.categories),
        "splits": {
            name: {
                "images": split.num_examples,
                "objects": split.num_objects,
                "bytes": split.num_bytes,
                "counts": split.counts,
            }
            for name, split in info.splits.items()
        },
    }


def _evaluation(paths: dict[str, str], request: Request) -> dict[str, Any]:
    evaluation = epath.Path(paths["evaluation"])
    metrics = read_metrics(evaluation)
    return {
        "evaluation": {
            "folder": paths["evaluation"],
            "split": request.config.evaluation.split,
            "metrics": {name: metrics[name] for name in METRIC_KEYS},
        },
        "blessing": read_json(
            epath.Path(paths["blessing"]) / DECISION_FILE, fix="evaluate again", kind=dict
        ),
    }


def _stage_table(summary: dict[str, Any]) -> Table:
    table = Table("Stage", Column("Time", justify="right"), "", box=box.SIMPLE_HEAD)
    table.title, table.title_justify = f"Pipeline {summary['name']}", "left"
    for stage in summary["stages"]:
        cached = "from the cache" if stage["cached"] else ""
        table.add_row(stage["title"], duration(stage["seconds"]), cached)
    table.add_section()
    table.add_row("Total, start included", duration(summary["seconds"]), "")
    return table


def _data_table(summary: dict[str, Any]) -> Table:
    counts = (Column(name, justify="right") for name in ("Images", "Objects"))
    table = Table("Data", *counts, "Set aside or fixed, by rule", box=box.SIMPLE_HEAD)
    for stage, data in summary["data"].items():
        for split, numbers in data["splits"].items():
            counted = (f"{numbers[kind]:,}" for kind in ("images", "objects"))
            table.add_row(f"{stage} {split}", *counted, _defects(numbers["counts"]))
    return table


def _defects(counts: dict[str, Any]) -> str:
    found = [
        f"{rule} {count:,}"
        for kind in ("images", "annotations")
        for change in ("dropped", "changed")
        for rule, count in sorted(counts.get(kind, {}).get(change, {}).items())
        if count
    ]
    return ", ".join(found) or "nothing"


def _metric_table(summary: dict[str, Any]) -> Table:
    evaluation = summary["evaluation"]
    table = Table(box=box.SIMPLE, show_header=False, title_justify="left")
    table.title = f"COCO metrics on {evaluation['split']}"
    half = len(METRIC_KEYS) // 2
    for names in (METRIC_KEYS[:half], METRIC_KEYS[half:]):
        values = [evaluation["metrics"][name] for name in names]
        table.add_row(*(name.replace("_", " ") for name in names), style="dim")
        # COCO's -1 means that the data hold nothing to measure.
        table.add_row(*("-" if value < 0 else f"{value:.3f}" for value in values))
    return table


def _places(summary: dict[str, Any]) -> list[tuple[str, str]]:
    places = []
    if blessing := summary.get("blessing"):
        verdict = "yes" if blessing["blessed"] else "NO"
        places.append(("Blessed", f"{verdict}: {'; '.join(blessing['reasons'])}"))
    if push := summary.get("push"):
        already = " (the same model was there already)" if push.get("already_there") else ""
        pushed = f"{push['path']}{already}" if push["pushed"] else "no, since it is not blessed"
        places.append(("Pushed", pushed))
    shown = ("model", "report", "scan")
    places += [(key.capitalize(), summary[key]) for key in shown if key in summary]
    reports = [data["report"] for data in summary["data"].values() if data["report"]]
    places += zip(("Data report", ""), reports)
    if "tensorboard" in summary:
        places.append(("TensorBoard", f"tensorboard --logdir={summary['pipeline_root']}"))
        places += [("", logdir) for logdir in summary["tensorboard"]]
    return places
