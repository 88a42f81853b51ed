"""The page of an ablation, in a browser."""

import pytest

from pix2seq_model.ablation.page import write_page
from tests.fixtures.browser import ask_page, needs_browser


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_screen(summary, width, tmp_path):
    page = write_page(tmp_path, summary)
    answer = ask_page(
        page,
        """({
          needed: document.documentElement.scrollWidth,
          charts: [...document.querySelectorAll("svg")].map((svg) => svg.clientWidth),
          rows: document.querySelectorAll("tbody tr").length,
          outside: [...document.querySelectorAll("[src], link[href], a[href]")].map(
            (element) => element.getAttribute("src") || element.getAttribute("href"))
            .filter((address) => !/^(data:|#)/.test(address)),
        })""",
        width=width,
        folder=tmp_path,
    )
    assert answer["needed"] <= width
    assert len(answer["charts"]) == 4
    assert min(answer["charts"]) > 250
    assert answer["rows"] == 7
    assert answer["outside"] == []
