"""What is said of the pinned packages is what a list of known faults said."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements.command import FOLDER, load

FINE = {"name": "fine", "version": "1.0", "vulns": []}
FAULT = {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"]}
FAULTY = {"name": "faulty", "version": "2.0", "vulns": [FAULT, {"id": "X-2", "fix_versions": []}]}
SKIPPED = {"name": "unknown", "skip_reason": "not there"}


@pytest.fixture
def audit(monkeypatch, tmp_path):
    """The program, given what each list answers: packages, text that is written, or None."""
    module = load("audit", monkeypatch)
    installed = []
    monkeypatch.setattr(module, "make_venv", lambda folder: folder / "bin/python")
    monkeypatch.setattr(module, "install", lambda python, files: installed.extend(files))
    monkeypatch.setattr(sys, "argv", ["audit.py", f"--venv={tmp_path / 'a/venv'}"])

    def run(**answers):
        asked = []

        def pip_audit(command, **_):
            service = command[command.index("-s") + 1]
            asked.append(command)
            answer = answers[service]
            if answer is not None:
                text = answer if isinstance(answer, str) else json.dumps({"dependencies": answer})
                Path(command[command.index("-o") + 1]).write_text(text)
            return subprocess.CompletedProcess(command, 1, "", f"{service} did not answer")

        monkeypatch.setattr(module.subprocess, "run", pip_audit)
        return module.main(), asked

    yield run
    assert installed == [FOLDER / "audit.txt"]


def test_no_fault_is_known(audit, capsys):
    status, asked = audit(pypi=[FINE, FINE])
    assert (status, len(asked)) == (0, 1)
    said = "2 of 2 pinned packages looked up at pypi, 0 faulty"
    assert capsys.readouterr().out.strip() == said


def test_all_that_is_pinned_is_looked_up_as_it_is_pinned(audit):
    (command,) = audit(pypi=[FINE])[1]
    files = {Path(part).stem for before, part in itertools.pairwise(command) if before == "-r"}
    assert files == {path.stem for path in FOLDER.glob("*.in")} - {"audit"}
    assert {"--no-deps", "--disable-pip"} <= set(command)


def test_a_fault_is_told_with_what_mends_it(audit, capsys):
    assert audit(pypi=[FINE, FAULTY])[0] == 1
    assert capsys.readouterr().out.splitlines() == [
        "2 of 2 pinned packages looked up at pypi, 1 faulty",
        "faulty 2.0: PYSEC-1, fixed in 2.1, 3.0",
        "faulty 2.0: X-2, fixed in no version",
    ]


def test_packages_that_were_not_looked_up_are_no_success(audit, capsys):
    assert audit(pypi=[FINE, SKIPPED])[0] == 2
    assert "1 of 2 pinned packages looked up" in capsys.readouterr().out


def test_a_fault_counts_more_than_what_is_missing(audit):
    assert audit(pypi=[FAULTY, SKIPPED])[0] == 1


@pytest.mark.parametrize("answer", [None, "", '{"dependenc', "{}", "[]", [SKIPPED], []])
def test_without_one_list_the_other_is_asked(answer, audit, capsys):
    """A mirror that holds packages alone answers too, and knows of none of them."""
    status, asked = audit(pypi=answer, osv=[FINE])
    assert (status, len(asked)) == (0, 2)
    assert "1 of 1 pinned packages looked up at osv" in capsys.readouterr().out


def test_without_any_list_nothing_is_said_of_the_packages(audit, capsys):
    status, asked = audit(pypi=None, osv=[SKIPPED])
    assert (status, len(asked)) == (2, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert "pypi did not answer" in said.err
    assert "nothing was looked at" in said.err
