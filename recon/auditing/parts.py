"""What a report is made of. A part knows how it is written in Markdown and in HTML, so that both say the same."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from markupsafe import Markup, escape

from recon.publish import markdown_table

LONG = 12  # rows of a table, about what a phone's screen shows


@runtime_checkable
class Part(Protocol):
    """A piece of a section."""

    def markdown(self) -> str:
        """As Markdown, without a line's end."""

    def html(self) -> Markup:
        """As elements that stand by themselves."""


@dataclass(frozen=True)
class Section:
    """A heading with what belongs below it.

    Attributes:
      name: anchor in the page.
    """

    name: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph; code between backticks.

    Attributes:
      chief: it is what a reader in a hurry should read.
    """

    words: str
    chief: bool = False

    def markdown(self) -> str:
        """As `Part` says."""
        return self.words

    def html(self) -> Markup:
        """As `Part` says."""
        return Markup('<p class="chief">{}</p>' if self.chief else "<p>{}</p>").format(coded(self.words))


@dataclass(frozen=True)
class Items:
    """A list; each item may begin with a term that it explains."""

    items: tuple[tuple[str, str], ...]

    def markdown(self) -> str:
        """As `Part` says."""
        return "\n".join(f"- *{term}*: {words}" if term else f"- {words}" for term, words in self.items)

    def html(self) -> Markup:
        """As `Part` says."""
        made = Markup().join(
            Markup("<li>{}{}</li>").format(Markup("<em>{}</em>: ").format(term) if term else "", coded(words))
            for term, words in self.items
        )
        return Markup("<ul>{}</ul>").format(made)


@dataclass(frozen=True)
class Table:
    """A table; on a phone each row is a card. Long ones are folded on a screen.

    Attributes:
      title: for those who do not see it.
      columns: names, all empty where the rows need none.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As `Part` says."""
        return markdown_table(self.columns, self.rows)

    def html(self) -> Markup:
        """As `Part` says."""
        head = Markup().join(Markup('<th scope="col">{}</th>').format(name) for name in self.columns)
        head = Markup("<thead><tr>{}</tr></thead>").format(head) if any(self.columns) else Markup()
        body = Markup().join(self._row(row) for row in self.rows)
        made = Markup('<table aria-label="{}">{}<tbody>{}</tbody></table>').format(self.title, head, body)
        if len(self.rows) <= LONG:
            return made
        return Markup("<details><summary>{}: {} lines</summary>{}</details>").format(self.title, len(self.rows), made)

    def _row(self, row: Sequence[str]) -> Markup:
        cells = Markup().join(
            Markup('<td data-label="{}">{}</td>').format(name, value)
            for name, value in zip(self.columns[1:], row[1:], strict=True)
        )
        return Markup('<tr><th scope="row">{}</th>{}</tr>').format(row[0], cells)


@dataclass(frozen=True)
class Pair:
    """A reconstruction, beside the image that it stands for if there is one.

    Attributes:
      pictures: PNGs with a text for each.
      caption: below them.
      sure: the attack vouches for it.
    """

    pictures: tuple[tuple[bytes, str], ...]
    caption: str
    sure: bool


@dataclass(frozen=True)
class Pictures:
    """Reconstructions: in the page each by itself, in Markdown the file that shows them together."""

    file: str
    pairs: tuple[Pair, ...]

    def markdown(self) -> str:
        """As `Part` says."""
        return f"![Reconstructions]({self.file})"

    def html(self) -> Markup:
        """As `Part` says."""
        figures = (
            Markup('<figure class="{}"><div>{}</div><figcaption>{}</figcaption></figure>').format(
                "sure" if pair.sure else "unsure",
                Markup().join(
                    Markup('<img src="data:image/png;base64,{}" alt="{}">').format(base64.b64encode(png).decode(), alt)
                    for png, alt in pair.pictures
                ),
                pair.caption,
            )
            for pair in self.pairs
        )
        return Markup('<div class="pictures">{}</div>').format(Markup().join(figures))


@dataclass(frozen=True)
class Drawing:
    """A chart, as SVG, with what it shows in words: in Markdown these alone."""

    svg: Markup
    words: str

    def markdown(self) -> str:
        """As `Part` says."""
        return self.words

    def html(self) -> Markup:
        """As `Part` says."""
        return Markup('<figure class="drawing">{}<figcaption>{}</figcaption></figure>').format(
            self.svg, coded(self.words)
        )


def coded(words: str) -> Markup:
    """A text as markup, with options and what stands between backticks as code."""
    made = re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(words)))
    return Markup(re.sub(r"(?<![\w-])--?[a-z][a-z-]*", r'<code class="option">\g<0></code>', made))
