"""The commands' flags: ours, Beam's, misspelled ones, and how a command ends."""

import ast

import pytest
from absl import flags

from pipelines.cli import command_line
from pipelines.cli.command_line import interrupted_as, local_beam_args, parse_known
from pix2seq_model.errors import ConfigError
from tests.fixtures.commands import PIPELINES, run_program


@pytest.fixture(autouse=True)
def own_flags(monkeypatch):
    values = flags.FlagValues()
    for define, name, default in [
        (flags.DEFINE_string, "output", None),
        (flags.DEFINE_integer, "seed", 0),
        (flags.DEFINE_bool, "check_pixels", False),
        (flags.DEFINE_string, "config", ""),
    ]:
        define(name, default, "help", flag_values=values)
    monkeypatch.setattr(command_line.flags, "FLAGS", values)
    monkeypatch.setattr(command_line, "_our_flags", lambda: list(values))
    return values


def test_ours_are_parsed_and_the_rest_is_beams(own_flags):
    rest = parse_known(
        ["x", "--output=o", "--runner=FlinkRunner", "--project", "p", "--seed=3", "--streaming"]
    )
    assert rest == ["--runner=FlinkRunner", "--project", "p", "--streaming"]
    assert (own_flags.output, own_flags.seed) == ("o", 3)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--otput=x", "--output"),
        ("--outputs=x", "--output"),
        ("--seeds=3", "--seed"),
        ("--check_pixel", "--check_pixels"),
        ("--nocheck_pixel", "--nocheck_pixels"),
    ],
)
def test_misspelt_flags_are_refused(wrong, right):
    name = wrong.lstrip("-").split("=")[0]
    with pytest.raises(ConfigError, match=f"no flag --{name}; did you mean {right}"):
        parse_known(["x", wrong])


@pytest.mark.parametrize(
    "argument", ["--region=r", "--temp_location=gs://b", "--job_name=x", "--flink_submit_uber_jar"]
)
def test_beams_flags_pass(argument):
    assert parse_known(["x", argument]) == [argument]


def test_settings_of_a_config_pass():
    assert parse_known(["x", "--config.seed=3"]) == ["--config.seed=3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["word"], "'word' is not a flag"),
        (["--runner=x", "word"], "'word' is not a flag"),
        (["--project", "p", "word"], "'word' is not a flag"),
        (["--seed=many"], "flag --seed=many"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        parse_known(["x", *arguments])


def test_beam_on_this_machine():
    assert local_beam_args([]) == ("--runner=FnApiRunner",)
    assert local_beam_args(["--runner=DirectRunner", "--direct_num_workers=2"])[2:] == (
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
        "--beam_plugin=components.storage.worker_lifetime",
    )
    given = local_beam_args(["--direct_running_mode=multi_processing"])
    assert given[1:] == ("--runner=FnApiRunner", "--beam_plugin=components.storage.worker_lifetime")
    on_dataflow = local_beam_args(["--runner=DataflowRunner"])
    assert on_dataflow == ("--no_save_main_session", "--runner=DataflowRunner")
    assert local_beam_args(["--runner=FlinkRunner"]) == ("--runner=FlinkRunner",)


COMMAND = """
'''Does this and that.'''
from absl import flags
from pipelines.cli.command_line import run_command
from pix2seq_model.errors import DataError
from pix2seq_model import errors
WHAT = flags.DEFINE_string("what", None, "What to do.", required=True)
def main(beam_args):
    if WHAT.value == "user":
        raise DataError("x.json: wrong; fix it")
    if WHAT.value == "defect":
        raise RuntimeError("ours")
    if WHAT.value == "head":
        raise BrokenPipeError
    print(WHAT.value, beam_args)
    return 1 if WHAT.value == "one" else None
if __name__ == "__main__":
    run_command(main)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        (["--what=a", "--runner=x"], 0, "a ['--runner=x']", ""),
        (["--what=one"], 1, "one []", ""),
        (["--what=user"], 2, "", "error: x.json: wrong; fix it\n"),
        (["--what=head"], 141, "", ""),
        ([], 2, "", "error: flag --what=None: Flag --what must have a value"),
        (["--wat=a"], 2, "", "error: there is no flag --wat; did you mean --what?\n"),
        (["--help"], 0, "Does this and that.", ""),
    ],
)
def test_how_a_command_ends(tmp_path, arguments, status, out, err):
    (tmp_path / "command.py").write_text(COMMAND)
    done = run_program(tmp_path / "command.py", *arguments)
    assert (done.status, "Traceback" in done.stderr) == (status, False)
    assert done.stdout.startswith(out)
    assert done.stderr.startswith(err)
    assert (bool(done.stdout), bool(done.stderr)) == (bool(out), bool(err))


def test_a_defect_of_ours_keeps_its_traceback(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    done = run_program(tmp_path / "command.py", "--what=defect")
    assert done.status == 1
    assert "Traceback" in done.stderr


def test_what_an_interruption_says():
    def interrupted(*said):
        with interrupted_as("nothing was sent"):
            raise KeyboardInterrupt(*said)

    with pytest.raises(KeyboardInterrupt, match="nothing was sent"):
        interrupted()
    # Who is nearer to it knows better.
    with pytest.raises(KeyboardInterrupt, match="half was sent"):
        interrupted("half was sent")


_SHARED_DEFAULTS = ("batch_size", "num_pictures", "max_pixels", "max_megabytes", "upload_seconds")


def shared_defaults(source: str) -> dict[str, ast.expr]:
    """The default of each such flag that a module defines."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call.args[1]
        for call in calls
        if ast.unparse(call.func).startswith("flags.DEFINE_")
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value in _SHARED_DEFAULTS
    }


def test_a_default_of_a_dataclass_is_not_written_again_as_a_flags():
    found = set()
    for path in PIPELINES.rglob("*.py"):
        for name, default in shared_defaults(path.read_text()).items():
            assert not isinstance(default, ast.Constant), f"--{name} in {path}"
            found.add(name)
    assert found == set(_SHARED_DEFAULTS)
    planted = shared_defaults('flags.DEFINE_integer("batch_size", 8, "")')
    assert isinstance(planted["batch_size"], ast.Constant)
