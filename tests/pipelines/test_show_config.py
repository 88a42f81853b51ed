"""The command as a person runs it."""

from tests.fixtures.commands import run_command


def test_values_and_an_explanation():
    done = run_command(
        "show_config", "--config=configs/demo.py", "--config.finetune.steps=300", "--changed"
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["finetune.steps", "300", "command", "line"] in rows
    assert ["finetune.learning_rate", "0.001", "configs/demo.py"] in rows
    assert "configs/base.py" not in done.stdout
    done = run_command("show_config", "--explain=finetune.sequence.order")
    assert "allowed: one of random, area" in done.stdout
    assert "default: 'random'" in done.stdout


def test_what_cannot_be_shown():
    assert "give --config=FILE" in run_command("show_config", status=2).stderr
    done = run_command("show_config", "--explain=finetune.ordr", status=2)
    assert "did you mean finetune." in done.stderr
