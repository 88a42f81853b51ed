"""Pages of the site that are no files of `docs/`: the README, and the benchmarks'."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# A page of the site, and the file it is made from.
_FROM_ELSEWHERE = {"index.md": "README.md", "benchmarks.md": "benchmarks/README.md"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages that lie elsewhere."""
    root = Path(config.config_file_path).parent
    for page, source in _FROM_ELSEWHERE.items():
        files.append(File.generated(config, page, content=(root / source).read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between files of the repository become links between pages, which have no endings."""
    markdown = re.sub(r"\[docs/(\w+)\.\w+\]", lambda m: f"[{m[1].replace('_', ' ')}]", markdown)
    markdown = re.sub(r"\]\((?:\.\./)?docs/", "](", markdown)
    for target, source in _FROM_ELSEWHERE.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(source)}", f"]({target}", markdown)
    return markdown
