"""The page of an ablation: charts and tables in one HTML file, no network."""

from etils import epath

from pix2seq_model.ablation.summary import METRICS, QUESTIONS, Row, Summary
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
    path = epath.Path(output_dir) / PAGE_FILE
    write_atomically(path, render(summary))
    return path


def render(summary: Summary) -> str:
    """The page as HTML text."""
    sections = []
    for name, (title, varied) in QUESTIONS.items():
        if not summary.of(name):
            continue
        sections.append(
            {
                "name": name,
                "title": title,
                "varied": varied,
                "note": _NOTES[name],
                "charts": question_charts(summary, name),
                "tables": [
                    {"group": group, "rows": _table(rows), "usual": _usual(rows)}
                    for group, rows in summary.groups(name).items()
                ],
            }
        )
    context = {
        "facts": summary.facts,
        "sections": sections,
        "metrics": METRICS,
        "num_seeds": len(summary.seeds),
    }
    return render_page("ablation.html", context, filters={})


def question_charts(summary: Summary, question: str) -> list[dict[str, str]]:
    """Charts of a question: `title` and `svg` of each."""
    title, varied = QUESTIONS[question]
    if question != "noise":
        rows = summary.of(question)
        series = [_series(METRICS[metric], rows, metric) for metric in ("AP", "AR100")]
        labels = [row.setting.replace(", then ", "\n+ ") for row in rows]
        return [
            {
                "title": "AP and AR@100",
                "svg": charts.spread_chart(
                    labels,
                    series,
                    title=f"{title}: AP and AR@100 of each setting",
                    x_label=varied,
                    y_label="AP, AR@100",
                    joined=question == "bins",
                ),
            }
        ]
    found = []
    for metric in ("AP", "AR100"):
        groups = summary.groups(question)
        labels = [row.setting for row in next(iter(groups.values()))]
        found.append(
            {
                "title": METRICS[metric],
                "svg": charts.spread_chart(
                    labels,
                    [_series(group, rows, metric) for group, rows in groups.items()],
                    title=f"{title}: {METRICS[metric]} by offset",
                    x_label=varied,
                    y_label=METRICS[metric],
                ),
            }
        )
    return found


def _series(name: str, rows: list[Row], metric: str) -> charts.Spread:
    return charts.Spread(name, [row.values[metric] for row in rows])


def _usual(rows: list[Row]) -> str:
    return next((row.setting for row in rows if row.is_usual), "")


def _table(rows: list[Row]) -> list[dict]:
    usual = next((row for row in rows if row.is_usual), None)
    return [
        {
            "setting": row.setting,
            "is_usual": row.is_usual,
            "numbers": [row.text(metric) for metric in METRICS],
            "against": row.against(usual, "AP") if usual else "",
        }
        for row in rows
    ]
