"""What the commands share: absl flags of ours, the rest for Beam, and how a command ends.

Flags that are not ours go to Beam unchanged. One that is nearly ours is a typing mistake and is
refused, because Beam would ignore it silently.
"""

import contextlib
import difflib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from pipelines.cli import guard
from pipelines.cli.keras_setup import settle_keras
from pipelines.cli.no_secrets import blot_out, refuse_in_arguments
from pipelines.cli.outside_errors import outside_error
from pipelines.cli.place_flags import check_buckets
from pipelines.cli.quiet import quiet_libraries
from pix2seq_model.argument_names import called_as_flags
from pix2seq_model.errors import ConfigError, UserError
from pix2seq_model.terminal import guard_standard_streams

if TYPE_CHECKING:
    from apache_beam import Pipeline

_SIMILARITY = 0.8


@functools.cache
def _beam_flags() -> frozenset[str]:
    """The names of all of Beam's pipeline options."""
    from apache_beam.options.pipeline_options import PipelineOptions  # Takes a second to import.

    return frozenset(PipelineOptions([]).get_all_options())


def _our_flags() -> list[str]:
    """The names of the flags that the command and this package defined, libraries' left out."""
    return [
        flag.name
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module == sys.argv[0] or module.startswith("pipelines.")
        for flag in defined
    ]


def _refuse_misspelt(argv: list[str], *, takes_more: bool) -> None:
    ours = _our_flags()
    ours += [f"no{name}" for name in ours if flags.FLAGS[name].boolean]
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        # `--config.seed=3` belongs to the flag `--config`.
        if not argument.startswith("-") or name.partition(".")[0] in ours or name in flags.FLAGS:
            continue
        close = difflib.get_close_matches(name, ours, n=1, cutoff=_SIMILARITY)
        if close and (not takes_more or name not in _beam_flags()):
            raise ConfigError(f"there is no flag --{name}; did you mean --{close[0]}?")


def _refuse_bare_words(arguments: list[str]) -> None:
    """Refuses a word that is neither a flag nor, as in `--project p`, the value of one before."""
    previous = "word"
    for argument in arguments:
        if argument.startswith("-"):
            previous = "flag=value" if "=" in argument else "flag"
        elif previous == "flag":
            previous = "word"
        else:
            raise ConfigError(f"{argument!r} is not a flag; write --name=value")


def parse_known(argv: list[str], *, takes_more: bool = True) -> list[str]:
    """Parses our absl flags from `argv` (program name first).

    Args:
      argv: the command line.
      takes_more: flags that are not ours may be Beam's.

    Returns:
      The arguments that are not ours, to be given to Beam's `PipelineOptions`.

    Raises:
      ConfigError: an illegal or missing value, a misspelled flag, a word that is no flag, a secret.
    """
    refuse_in_arguments(argv[1:])
    # First, so that a misspelled flag is not reported as a required one that is missing.
    _refuse_misspelt(argv[1:], takes_more=takes_more)
    try:
        rest = flags.FLAGS(argv, known_only=True)[1:]
    except flags.Error as error:
        raise ConfigError(str(error)) from None
    _refuse_bare_words(rest)
    return rest


# On Dataflow Beam would pickle the program itself, and each worker load it with all its imports;
# what workers run is in the image.
NO_MAIN_SESSION = "--no_save_main_session"


def local_beam_args(beam_args: Sequence[str]) -> tuple[str, ...]:
    """Returns Beam's arguments for a job that may run on this machine.

    Beam's DirectRunner first looks for Prism, a program that it would download; its FnApiRunner
    is what runs in this process. Several workers are processes, because threads share one core;
    they end with this one.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

    from components.storage.worker_lifetime import BEAM_ARGUMENT

    options = PipelineOptions(list(beam_args))
    runner = options.view_as(StandardOptions).runner
    if runner == "DataflowRunner":
        return (NO_MAIN_SESSION, *beam_args)
    if runner not in (None, "DirectRunner"):
        return tuple(beam_args)
    extra = ["--runner=FnApiRunner"]  # The last one counts.
    direct = options.view_as(DirectOptions)
    mode = any(a.startswith("--direct_running_mode") for a in beam_args)
    if direct.direct_num_workers != 1 and not mode:
        extra.append("--direct_running_mode=multi_processing")
    if len(extra) > 1 or direct.direct_running_mode == "multi_processing":
        extra.append(BEAM_ARGUMENT)
    return (*beam_args, *extra)


def local_pipeline(beam_args: Sequence[str]) -> "Pipeline":
    """Returns a job that may run on this machine; see `local_beam_args`."""
    from apache_beam import Pipeline
    from apache_beam.options.pipeline_options import PipelineOptions

    return Pipeline(options=PipelineOptions(list(local_beam_args(beam_args))))


def flag_values(*names: str) -> dict[str, Any]:
    """Returns the values of some flags by name."""
    return {name: flags.FLAGS[name].value for name in names}


def two_numbers(name: str, example: str) -> tuple[int, int]:
    """Returns the value of a list flag such as --image_size=128,160.

    Raises:
      ConfigError: it is not two numbers.
    """
    words = flags.FLAGS[name].value
    try:
        first, second = map(int, words)
    except ValueError:
        raise ConfigError(
            f"--{name}={','.join(words)} is not two numbers; write --{name}={example}"
        ) from None
    return first, second


def split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Separates `--config.x.y=value` (or `--config.x.y value`) from the arguments for Beam."""
    overrides, rest = [], []
    waiting = iter(arguments)
    for argument in waiting:
        if not argument.lstrip("-").startswith("config."):
            rest.append(argument)
            continue
        key, equals, value = argument.lstrip("-").removeprefix("config.").partition("=")
        if not equals:
            value = next(waiting, "--")
            if value.startswith("--"):
                raise ConfigError(f"{argument} needs a value: write {argument}=value.")
        overrides.append(f"{key}={value}")
    return overrides, rest


def _print_help(document: str | None, *, takes_more: bool) -> None:
    print((document or "").strip())
    print("\nFlags (all others go to Beam):" if takes_more else "\nFlags:")
    for name in sorted(_our_flags()):
        flag = flags.FLAGS[name]
        default = "" if flag.default in (None, "", []) else f" (default: {flag.default_as_str})"
        print(f"  --{name}: {flag.help}{default}")


@contextlib.contextmanager
def interrupted_as(message: str) -> Iterator[None]:
    """Ctrl-C in the block ends the command with this message of what was done and what was not."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or message) from None


def run_command(
    main: Callable[..., int | None], *, takes_more: bool = True, continues: bool = False
) -> None:
    """Runs a command and ends the process.

    A `UserError` ends as its message on standard error and status 2, and so does what the machine
    or the network refuses; any other exception keeps its traceback.

    Args:
      main: returns the exit status; None is 0.
      takes_more: `main` gets the arguments that are no flags of ours, for Beam or as
        --config.x=value. A command that takes none refuses them.
      continues: the same command goes on where an interrupted one was, unless `interrupted_as`
        says something else.
    """
    for stream in (sys.stdout, sys.stderr):  # What a terminal has no letters for is a "?".
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    guard_standard_streams()
    guard.release()
    program = sys.modules["__main__"]
    try:
        if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in sys.argv[1:]):
            _print_help(program.__doc__, takes_more=takes_more)
            sys.stdout.flush()
            sys.exit(0)
        more = parse_known(sys.argv, takes_more=takes_more)
        if more and not takes_more:
            raise ConfigError(f"there is no flag {more[0]}")
        settle_keras()
        check_buckets(_our_flags())
        # A command with that flag has a log, which the libraries write to.
        has_log = "verbose" in flags.FLAGS
        quiet = contextlib.nullcontext() if has_log else quiet_libraries()
        with called_as_flags(_our_flags()), quiet:
            status = main(more) if takes_more else main()
        sys.stdout.flush()
    except UserError as error:
        _end_with(str(error))
    except BrokenPipeError:  # Whoever reads has seen enough, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt as stop:
        then = "the same command continues from here" if continues else "nothing goes on from here"
        print(f"interrupted; {str(stop) or then}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if (message := outside_error(error)) is None:
            raise
        _end_with(message)
    sys.exit(status or 0)


def _end_with(message: str) -> None:
    with contextlib.suppress(OSError):  # A disk that is full takes no more of it either.
        sys.stdout.flush()
    print(f"error: {blot_out(message)}", file=sys.stderr)
    sys.exit(2)
