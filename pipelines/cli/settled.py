"""What was looked up for a config, for people: notes on recipes, and a table of what was chosen."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pix2seq_model.experiment.own_data import Choice
from pix2seq_model.experiment.submission import Submission


def print_settled(submission: Submission, console: Console) -> None:
    """Prints the notes, the settings that follow from the data with their reasons, the warnings."""
    for note in submission.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    if scan := submission.scan:
        for name, split in scan.splits.items():
            counted = f"{split.images:,} images, {split.objects:,} boxes, {split.crowds:,} crowds"
            aside = sum(split.set_aside.values())
            line = f"{name}: {counted}; rows set aside: {aside:,}"
            console.print(line, soft_wrap=True, highlight=False)
        console.print(_table(submission.choices))
    for warning in submission.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)


def _table(choices: tuple[Choice, ...]) -> Table:
    longest = max(len(choice.key) for choice in choices)
    key = Column("Setting", no_wrap=True, min_width=longest)
    table = Table(
        key, "Value", Column("Why", overflow="fold"), box=box.SIMPLE_HEAD, title_justify="left"
    )
    table.title = "Settings that follow from the data"
    for choice in choices:
        table.add_row(choice.key, escape(str(choice.value)), escape(choice.reason))
    return table
