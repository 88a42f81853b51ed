"""Charts: valid SVG for a page, the same bytes each time."""

import xml.etree.ElementTree as ElementTree

from pix2seq_model.reports.charts import Line, Spread, bar_chart, line_chart, spread_chart


def texts(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def test_a_line_chart_is_svg_with_its_words_as_words():
    svg = line_chart(
        [Line("a & b", [0, 1], [0.25, 1.0]), Line("c", [0, 1], [1, 0], dashed=True)],
        title="Two <lines>",
        xlabel="step",
        ylabel="loss",
        ylim=(0, 1),
    )
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox")
    assert root.get("width") is None
    assert {"step", "loss", "a & b", "c"} <= set(texts(svg))
    assert "<style" not in svg
    assert "font-family" not in svg


def test_bars_say_their_values():
    svg = bar_chart(["small", "large"], [0.1, 0.123456], title="t", ylabel="AP")
    assert {"0.100", "0.123", "small", "large"} <= set(texts(svg))
    svg = bar_chart(["small"], [0], title="t", ylabel="AP", texts=["no objects"])
    assert "no objects" in texts(svg)


def test_an_ap_of_next_to_nothing_is_no_tall_bar():
    """The axis is that of AP 0: up to 0.1, whatever the largest value is."""
    nothing = texts(bar_chart(["few", "many"], [0.0, 0.0], title="t", ylabel="AP"))
    little = texts(bar_chart(["few", "many"], [0.00006, 0.0001], title="t", ylabel="AP"))
    assert little == nothing
    assert "0.10" in little


def test_the_same_chart_has_the_same_bytes():
    def chart():
        return line_chart([Line("", [1, 2], [3, 4])], title="t", xlabel="x", ylabel="y")

    assert chart() == chart()


def test_spreads_show_a_dot_for_each_run_and_a_bar_over_each_label():
    svg = spread_chart(
        ["a", "b"],
        [Spread("AP", [(0.1, 0.2, 0.3), (0.4, 0.5, 0.6)])],
        title="t",
        xlabel="x",
        ylabel="y",
    )
    assert {"a", "b", "x", "y"} <= set(texts(svg))
    one = spread_chart(["a"], [Spread("AP", [(0.5,)])], title="t", xlabel="x", ylabel="y")
    assert svg.count("<use") - one.count("<use") >= 5
