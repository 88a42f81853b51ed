"""Finds what a user can fix in an error of a stage, under all that TFX and Beam wrapped it in."""

import builtins
import re

from pipelines.cli.outside_errors import outside_error, outside_error_alone
from pix2seq_model import errors
from pix2seq_model.errors import UnavailableError, UserError

_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, UserError)
}
# Beam's workers hand an error over as text: a traceback, the last line "module.Kind: message",
# the step's name, and possibly more tracebacks.
_AS_TEXT = re.compile(rf"^(?:pix2seq_model\.errors\.)?({'|'.join(_KINDS)}): ", re.MULTILINE)
_END_OF_MESSAGE = re.compile(r" \[while running |\n\n(?:During|The above|Traceback)|\nTraceback ")
# What SQLite says of a disk that takes no more; the last is what follows once it has given up.
_UNWRITTEN = re.compile(
    "database or disk is full|disk I/O error|cannot commit - no transaction is active"
)


def find_user_error(error: BaseException) -> UserError | None:
    """The `UserError` behind an error, or None if there is none.

    Looks through the chain of causes, then through the texts of what Beam's workers reported.
    """
    chain = _chain(error)
    found = [_without_beam(link) for link in chain if isinstance(link, UserError)]
    return next(iter(found or filter(None, map(_in_text, map(str, chain)))), None)


def unwritten_metadata(error: BaseException, file: str) -> UserError | None:
    """The same for the file in which TFX remembers what ran, which its errors do not name."""
    for link in _chain(error):
        if file and (said := _UNWRITTEN.search(str(link))):
            return UnavailableError(
                f"{file} cannot be written ({said[0]}): free some space there if its disk is full, "
                "and run the same command again; what is done is kept"
            )
    return None


class StageError(Exception):
    """A stage stopped for a reason that is no fault of the user's, as far as we can tell."""

    def __init__(self, stage: str, error: BaseException) -> None:
        said, from_outside = outside_error_alone(error) or _one_line(error), outside_error(error)
        if from_outside not in (None, said):  # What it came from may have been dealt with.
            said = f"{said} ({from_outside})"
        super().__init__(f"{stage} failed: {said}")


def _one_line(error: BaseException) -> str:
    last = str(error).strip().splitlines()[-1:] or [""]
    name = type(error).__name__
    plain = getattr(builtins, name, None) is type(error)
    return f"{name if plain else f'{type(error).__module__}.{name}'}: {last[0]}"


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is not None and link not in chain:
            chain.append(link)
            waiting += [link.__cause__, link.__context__]
    return chain


def _without_beam(error: UserError) -> UserError:
    message = _message(str(error))
    return error if message == str(error) else type(error)(message)


def _in_text(text: str) -> UserError | None:
    # Of a pattern with a group: the text before it, then kind and message alternately.
    _, *found = _AS_TEXT.split(text)
    return _KINDS[found[-2]](_message(found[-1]).strip()) if found else None


def _message(text: str) -> str:
    return _END_OF_MESSAGE.split(text, maxsplit=1)[0]
