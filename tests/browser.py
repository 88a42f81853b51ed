"""A real browser without a window, for tests of pages; skips where none is installed."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"none of {_NAMES} is installed")


def ask_page(page: Path, script: str, *, width: int, folder: Path) -> dict:
    """What `script`, a JavaScript expression, gives on a copy of the page of this width.

    A `console.error` or an exception of the page's own counts as a failure.
    """
    # An iframe, because a window cannot be made as narrow as a phone everywhere.
    inner = page.read_text().replace(
        "<head>",
        "<head><script>window.problems = [];"
        "window.onerror = (message) => window.problems.push(String(message));"
        "console.error = (...words) => window.problems.push(words.join(' '));</script>",
        1,
    )
    quoted = json.dumps(inner).replace("</", "<\\/")  # else it would end the script around it
    outer = f"""<!doctype html><meta charset="utf-8"><body><pre id="answer"></pre>
<iframe id="page" style="width:{width}px;height:800px;border:0"></iframe>
<script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const window_ = frame.contentWindow, document_ = frame.contentDocument;
  const answer = (function (window, document) {{ return {script}; }})(window_, document_);
  const problems = window_.problems;
  document.getElementById("answer").textContent =
    btoa(unescape(encodeURIComponent(JSON.stringify({{answer, problems}}))));
}};
frame.srcdoc = {quoted};
</script>"""
    wrapper = folder / "wrapper.html"
    wrapper.write_text(outer)
    text = _run("--dump-dom", wrapper, folder=folder).stdout.decode()
    match = re.search(r'<pre id="answer">([^<]+)</pre>', text)
    assert match, f"the page did not answer: {text[:500]}"
    reply = json.loads(base64.b64decode(match[1]))
    assert not reply["problems"], reply["problems"]
    return reply["answer"]


def _run(action: str, page: Path, *, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=5000",
            action,
            page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
