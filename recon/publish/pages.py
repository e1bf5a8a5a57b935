"""What the pages that this package makes share: the templates' language, and the colours of paper and ink."""

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def templates(package: str) -> "Environment":
    """The templates of a package: what they show is escaped, and a name that nothing has is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style(package: str) -> str:
    """The colours that all pages have, by day and by night, and a package's own style."""
    sheets = files("recon.publish") / "palette.css", files(package) / "templates" / "style.css"
    return "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
