"""Renders the reports' pages from the templates of this package."""

from typing import Any

import jinja2
from markupsafe import Markup

from pix2seq_model.reports.drawing import data_uri


def render_page(template: str, **context: Any) -> str:
    """A page as HTML; whatever comes from the data is escaped.

    Args:
      template: file in `templates/`. Filters of its own: `svg` takes a drawing of ours as it is,
        `uri` puts a picture into the page, `number` groups digits.
      **context: values by name; one that the template wants and does not find is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pix2seq_model.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"svg": Markup, "uri": data_uri, "number": "{:,}".format}
    return environment.get_template(template).render(context)
