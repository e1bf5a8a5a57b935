"""What MkDocs does not do by itself: formulas as MathML, and links to the repository's own files.

A browser draws MathML without a script. A link from docs/ to a file outside it, `../results/README.md`, leads there
from site/ too, since that lies beside docs/; MkDocs looks up its own pages only, so such links are checked here.
"""

import html
import logging
import re
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
log = logging.getLogger("mkdocs.hooks.recon")  # what is a warning under "mkdocs" fails a strict build
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[]\s*(.*?)\s*\\[)\]]</\1>', re.S)
OUTSIDE = re.compile(r'(href|src)="outside:([^"]*)"')


def on_page_markdown(markdown, **_):
    """Hide links that leave docs/ from MkDocs, which would look for them among its pages."""
    return re.sub(r"\]\(\.\./", "](outside:", markdown)


def on_page_content(content, page, **_):
    """Draw the formulas, and bring the hidden links back."""

    def drawn(found):
        made = convert(html.unescape(found[2]), display="block" if found[1] == "div" else "inline")
        if "\\" in made:  # a command that the converter does not know stays as it is written
            log.warning("%s: cannot draw %s", page.file.src_path, found[2])
        return made

    def link(found):
        path, _, anchor = found[2].partition("#")
        if anchor or not (ROOT / path).exists():
            log.warning("%s: no file of the repository: %s", page.file.src_path, found[2])
        return f'{found[1]}="../{found[2]}"'

    return OUTSIDE.sub(link, FORMULA.sub(drawn, content))
