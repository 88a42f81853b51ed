"""Runs the pipeline: convert the data, pretrain, fine-tune, evaluate, push if good enough.

    python pipelines/run_pipeline.py --config=configs/demo.py
    python pipelines/run_pipeline.py --config=configs/coco_finetune.py:vit_b,640 \\
        --config.finetune.steps=1000 --stages=convert,finetune
    python pipelines/run_pipeline.py --config=configs/full.py:vit_b,640 --orchestrator=vertex \\
        --pipeline_root=gs://bucket/full --image=europe-docker.pkg.dev/p/r/pix2seq:1 \\
        --project=p --region=europe-west4 --runner=DataflowRunner

--config.section.field=value changes one setting. The same command again takes what is done from
the cache and continues what was interrupted.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import dataclasses
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from pipelines import cache_keys
from pipelines.cli.before_a_run import before_a_run, check_buckets_of
from pipelines.cli.command_line import (
    flag_values,
    interrupted_as,
    local_beam_args,
    run_command,
    split_overrides,
)
from pipelines.cli.config_flag import config_given
from pipelines.cli.machine import settle_on_machine
from pipelines.cli.no_secrets import refuse_in_config
from pipelines.cli.own_data import load_submission
from pipelines.cli.place_flags import define_place
from pipelines.local.run_log import run_log
from pipelines.local.stage_errors import StageError
from pipelines.request import STAGES, Request, parse_stages, portable_config_name
from pix2seq_model.errors import ConfigError
from pix2seq_model.store_access import check_reachable
from pix2seq_model.terminal import make_console

FLAGS = flags.FLAGS
_WRITTEN_AGAIN = (
    ": it is trained already, and only its model is written again, with the weights it has, to "
    "decode as the config's `evaluation` says now"
)

flags.DEFINE_enum("orchestrator", "local", ["local", "vertex"], "run here, or write a Vertex job")
define_place(
    "pipeline_root", "", "folder of all outputs; empty: runs/<name of the config>", asked=False
)
flags.DEFINE_list("stages", [], f"which to run, of {','.join(STAGES)}; empty: all")
flags.DEFINE_boolean("cache", True, "take finished stages from earlier runs")
flags.DEFINE_string("code_version", "", "names the version of the code; empty: its digest")
flags.DEFINE_string("data_version", "", "names the version of data in a bucket")
flags.DEFINE_boolean("verbose", False, "show what TensorFlow, TFX and Beam say")
flags.DEFINE_string("image", "", "vertex: container image of all steps")
define_place("job_file", "", "vertex: where to write the job; empty: <name>.json here", asked=False)
flags.DEFINE_boolean("submit", False, "vertex: check the project and submit the job")
flags.DEFINE_boolean("preflight", True, "vertex: check the project before submitting")
flags.DEFINE_boolean("follow", True, "vertex: after submitting, show the run until it ends")
flags.DEFINE_boolean("compile", True, "vertex: write the job again; --nocompile takes --job_file")
flags.DEFINE_multi_string("parameters", [], "vertex: name=value of the job; once for each")
flags.DEFINE_string("schedule", "", "vertex: submit again and again, as cron: '0 3 * * 1'")


def main(arguments: list[str]) -> int:
    config_file = config_given()
    overrides, beam_args = split_overrides(arguments)

    from pipelines.cli.settled import print_settled

    submission = load_submission(config_file, overrides)
    config = submission.config
    refuse_in_config(config.to_dict())
    print_settled(submission, make_console())
    root = FLAGS.pipeline_root or f"runs/{config.name}"
    request = Request(
        config=config,
        config_name=portable_config_name(config_file),
        overrides=submission.overrides,
        pipeline_root=root.rstrip("/"),
        stages=parse_stages(FLAGS.stages, config),
        beam_args=tuple(beam_args),
        **flag_values("data_version", "code_version"),
        use_cache=FLAGS.cache,
        scan=submission.scan_json(),
    )
    if FLAGS.orchestrator == "vertex":
        given = {override.partition("=")[0] for override in overrides}
        stages = [stage for stage in request.training_stages if stage in request.needed]
        config, resolved = settle_on_machine(
            config_file, config, submission.overrides, given=given, stages=stages
        )
        return _run_on_vertex(
            dataclasses.replace(request, config=config, overrides=tuple(resolved))
        )
    return _run_here(request)


def _run_here(request: Request) -> int:
    if "://" in request.pipeline_root:
        raise ConfigError(
            f"--pipeline_root={request.pipeline_root}: a run on this machine keeps its records in "
            "a local folder. Give one, or --orchestrator=vertex."
        )
    root = Path(request.pipeline_root).absolute()
    request = dataclasses.replace(request, pipeline_root=str(root))
    try:
        with run_log(root / "logs", verbose=FLAGS.verbose) as log, _only_run_in(root):
            _run_stages(request)
    except StageError as error:
        sys.stdout.flush()
        print(f"error: {error}\nThe full log is in {log}", file=sys.stderr)
        return 1
    return 0


def _run_stages(request: Request) -> None:
    started = time.monotonic()
    check_buckets_of(request)
    for stage in request.converted:  # What is missing is said now, not after the imports.
        cache_keys.source_digest(request.config.data[stage], f"data.{stage}")
    for stage in request.training_stages:
        if request.config[stage].start_from:
            cache_keys.model_digest(request.config[stage].start_from, f"{stage}.start_from")
    if "evaluate" in request.needed and (truth := request.config.evaluation.ground_truth):
        cache_keys.file_digest(truth, "evaluation.ground_truth")
    for warning in before_a_run(request):
        print(f"warning: {warning}", flush=True)
    request.write_scan()
    print("Loading TensorFlow, TFX and Beam ...", flush=True)

    from pipelines.local import summary
    from pipelines.local.run import run_locally
    from pipelines.local.trained import trained_before
    from pipelines.pipeline import NODES, create_pipeline

    request = dataclasses.replace(request, beam_args=local_beam_args(request.beam_args))
    pipeline = create_pipeline(request)
    shown = [node.id for node in pipeline.components if node.id in NODES]

    def banner(node_id: str, note: str = "") -> None:
        place = f"[{shown.index(node_id) + 1}/{len(shown)}]"
        print(f"\n{place} {NODES[node_id][1]}{note}", flush=True)

    trained = trained_before(request, pipeline)
    runs = run_locally(
        pipeline,
        # To write a trained model again, for other settings of decoding, trains nothing.
        selected=[node for node in shown if NODES[node][0] in request.stages or node in trained],
        on_start=lambda node_id: banner(node_id, _WRITTEN_AGAIN * (node_id in trained)),
        on_cached=lambda node_id: banner(node_id, ": from the cache"),
    )
    result = summary.summarize(request, runs, seconds=time.monotonic() - started)
    path = summary.write_summary(result, request.pipeline_root)
    summary.print_summary(result, make_console())
    print(f"Summary      {path}")


@contextmanager
def _only_run_in(root: Path) -> Iterator[None]:
    """Two runs in one folder would write over each other."""
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another run works in {root}: wait for its end, or give another --pipeline_root."
            ) from None
        yield


def _run_on_vertex(request: Request) -> int:
    from pipelines.vertex import job as vertex_job

    log = run_log(Path(f"runs/{request.config.name}/logs"), verbose=FLAGS.verbose)
    with log, interrupted_as("nothing was submitted"):
        request = vertex_job.on_cloud(request, image=FLAGS.image)
        path = Path(FLAGS.job_file or f"{request.pipeline_name}.json").absolute()
        if FLAGS.compile:
            vertex_job.write_job(request, path)
            print(f"Wrote {path}")
            if "@" not in FLAGS.image and not FLAGS.submit:
                print(f"It names {FLAGS.image} by its tag; a submission puts its digest there.")
        named = vertex_job.parameters_of(path)
        print(f"Parameters that each submission may set: {', '.join(named) or 'none'}")
        parameters = _parameters()
        if local := vertex_job.places_on_this_machine(request, parameters):
            message = (
                "these places are on this machine, where a step on Vertex AI cannot read. Copy "
                "them to a bucket and name that:\n  " + "\n  ".join(local)
            )
            if FLAGS.submit:
                raise ConfigError(message)
            print(f"Before you submit it: {message}")
        return _submit(request, path, parameters) if FLAGS.submit else 0


def _parameters() -> dict[str, str]:
    for text in FLAGS.parameters:
        if "=" not in text:
            raise ConfigError(f"--parameters={text}: write name=value.")
    return dict(text.split("=", 1) for text in FLAGS.parameters)


def _submit(request: Request, job_file: Path, parameters: dict[str, str]) -> int:

    from pipelines.vertex import submit as vertex_submit
    from pipelines.vertex.children import children
    from pipelines.vertex.pinned_job import pinned_job
    from pipelines.vertex.preflight import preflight

    check_reachable(request.pipeline_root, "--pipeline_root")
    findings = []
    if FLAGS.preflight:
        print("Checking the project, the bucket, the image, quotas and roles ...", flush=True)
        findings = preflight(request)
    if findings:
        shown = "\n".join(f"  {finding.what}\n    {finding.fix}" for finding in findings)
        if any(finding.blocks for finding in findings):
            raise ConfigError(
                f"nothing was submitted; first fix this (--nopreflight submits without):\n{shown}"
            )
        print(f"Could not be checked:\n{shown}")
    request.write_scan()
    # A file that was written earlier stays as it is.
    job_file = pinned_job(
        job_file, project=request.target.project, say=print, in_place=FLAGS.compile
    )
    with interrupted_as(
        f"it may have been submitted: look at {vertex_submit.runs_link(request)} before you submit "
        "it again"
    ):
        if FLAGS.schedule:
            plan = vertex_submit.schedule(request, job_file, parameters, cron=FLAGS.schedule)
            print(f"Scheduled: {plan.resource_name}, {FLAGS.schedule}")
            return 0
        job = vertex_submit.submit(request, job_file, parameters)
    link = vertex_submit.console_link(job, request)
    with interrupted_as(f"the run continues, and nothing follows it here any more: {link}"):
        print(f"Submitted: {link}", flush=True)
        if not FLAGS.follow:
            return 0
        return vertex_submit.follow(
            job,
            make_console(),
            cancel=lambda: vertex_submit.cancel(job, request),
            started=lambda: children(job, request),
        )


if __name__ == "__main__":
    run_command(main, continues=True)
