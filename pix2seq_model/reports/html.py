"""Renders the reports' pages from the templates of this package."""

from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup


def render_page(
    template: str, context: dict[str, Any], *, filters: dict[str, Callable[[Any], str]]
) -> str:
    """A page as HTML; whatever comes from the data is escaped.

    Args:
      template: file in `templates/`.
      context: values by name; one that the template wants and does not find is an error.
      filters: by name; `svg`, which is always there, takes a drawing of our own as it is.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pix2seq_model.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"svg": Markup, **filters}
    return environment.get_template(template).render(context)
