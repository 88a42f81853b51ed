"""The page of estimates is that of the program, and the estimates are near what was measured."""

from pathlib import Path

import pytest

from benchmarks import recorded_steps
from benchmarks.estimate_page import page
from benchmarks.recorded_steps import HOW, from_record, h100_peaks, recorded, recorded_runs
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment.estimate import GIB
from pix2seq_model.training.step_cache import step_costs

_PAGE = Path(__file__).parents[2] / "docs/estimates.md"


def test_the_document_is_what_the_program_says():
    assert _PAGE.read_text() == page(), "python benchmarks/estimates.py --write=docs/estimates.md"


def test_the_recorded_steps_are_those_of_this_code():
    again = "python benchmarks/estimates.py --trace --write=docs/estimates.md"
    assert recorded()["code"] == recorded_steps.code(), again


def test_memory_is_near_what_an_h100_took():
    found = {words: (estimate.memory_bytes / GIB, peak) for words, peak, estimate in h100_peaks()}
    assert len(found) == 8
    assert all(ours == pytest.approx(peak, rel=0.15) for ours, peak in found.values()), found


@pytest.mark.large
def test_a_new_trace_gives_what_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runs = {words: run for words, run in recorded_runs() if words.endswith(" 640")}
    assert len(runs) == 4
    for words, run in runs.items():
        again = step_costs(run, **HOW)
        with from_record():
            assert estimates.step_costs(run, **HOW) == again, words
