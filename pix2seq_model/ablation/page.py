"""The page of an ablation: charts and tables in one HTML file, no network."""

from etils import epath

from pix2seq_model.ablation.summary import METRICS, QUESTIONS, Row, Summary, usual_of
from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.reports import charts
from pix2seq_model.reports.html import render_page

PAGE_FILE = "ablation.html"

_NOTES = {
    "bins": "How finely a coordinate is written down. The vocabulary is the same for all.",
    "order": "In which order an image's objects stand in the training sequence: random is drawn "
    "again each time; area begins with the largest, distance with the one whose upper left corner "
    "is nearest to the origin, class with the smallest id.",
    "noise": "Training sequences filled up with noise objects and corrupted classes, or ended "
    "after the last object. Then the model ends its sequences early, and an offset on the end "
    "token's logit while decoding makes them longer. Every offset is one more evaluation of the "
    "same weights.",
}


def write_page(output_dir: epath.PathLike, summary: Summary) -> epath.Path:
    """Writes ablation.html and returns its path."""
    questions = {name: QUESTIONS[name] for name in QUESTIONS if summary.of(name)}
    page = render_page(
        PAGE_FILE,
        summary=summary,
        questions=questions,
        notes=_NOTES,
        charts={name: question_charts(summary, name) for name in questions},
        metrics=METRICS,
        usual_of=usual_of,
    )
    path = epath.Path(output_dir) / PAGE_FILE
    write_atomically(path, page)
    return path


def question_charts(summary: Summary, question: str) -> list[tuple[str, str]]:
    """Heading and SVG of each chart of a question."""
    title, varied = QUESTIONS[question]
    groups = summary.groups(question)
    # One chart of both metrics, or one of each where there are groups to compare.
    shown = ("AP", "AR100")
    if question == "noise":
        series = {
            METRICS[metric]: [_series(name, rows, metric) for name, rows in groups.items()]
            for metric in shown
        }
    else:
        both = [_series(METRICS[metric], summary.of(question), metric) for metric in shown]
        series = {"AP and AR@100": both}
    rows = next(iter(groups.values()))
    labels = [row.setting.replace(", then ", "\n+ ") for row in rows]
    return [
        (
            heading,
            charts.spread_chart(
                labels,
                parts,
                title=f"{title}: {heading} by {varied}",
                xlabel=varied,
                ylabel=heading.replace(" and", ","),
                joined=question != "order",
            ),
        )
        for heading, parts in series.items()
    ]


def _series(name: str, rows: list[Row], metric: str) -> charts.Spread:
    return charts.Spread(name, [row.values[metric] for row in rows])
