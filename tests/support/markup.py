"""Markup that customers write into every text of theirs, and a parser that finds where a page would act on it."""

from html.parser import HTMLParser
from typing import Final

EVIL: Final = "\"><img src=x onerror=evil()><script>evil()</script>{{9*9}}{% debug %}'\u202eevil"
"""Ends an attribute, an element and a text in quotes, begins elements that run scripts, is a template, turns the direction."""
LINK: Final = "javascript:evil()"
_ADDRESSES: Final = frozenset({"href", "src", "action", "formaction", "hx-get", "hx-post", "xlink:href"})
_EVALUATED: Final = ("x-", "@", ":", "hx-on", "style", "srcdoc")
"""Names of attributes, by how they begin, whose values Alpine, htmx or the browser evaluates."""


class Page(HTMLParser):
    """What is wrong with a page: scripts that stand in it, and elements or attributes that came of a customer's text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    @property
    def shows_evil(self) -> bool:
        """Whether a customer's text stands on it, as the text that it is."""
        return any("onerror=evil()" in text for text in self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and not given.get("src") and given.get("type") != "application/json":
            self.problems.append("a script stands in the page")
        if "evil" in tag or any("evil" in name for name in given):
            self.problems.append(f"<{tag} {attrs}>")
        for name, value in given.items():
            if name.startswith("on"):
                self.problems.append(f"<{tag} {name}={value!r}>")
            if name.startswith(_EVALUATED) and "evil" in value:
                self.problems.append(f"<{tag} {name}={value!r}> is evaluated")
            if name in _ADDRESSES and (value.strip().lower().startswith(("javascript:", "data:text")) or value == "x"):
                self.problems.append(f"<{tag} {name}={value!r}>")
            self.texts.append(value)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


IN_A_BROWSER: Final = """html => {
  const wrong = [], page = new DOMParser().parseFromString(html, 'text/html');
  for (const element of page.querySelectorAll('*')) {
    const tag = element.localName;
    if (tag == 'script' && !element.getAttribute('src') && element.type != 'application/json') wrong.push('script');
    if (tag.includes('evil')) wrong.push(tag);
    for (const {name, value} of element.attributes) {
      const evaluated = /^(x-|@|:|hx-on|style|srcdoc)/.test(name) && value.includes('evil');
      const address = /^(href|src|action|formaction|hx-get|hx-post|xlink:href)$/.test(name);
      const leads = address && /^\\s*(javascript:|data:text|x$)/i.test(value);
      if (name.startsWith('on') || name.includes('evil') || evaluated || leads) wrong.push(`${tag} ${name}=${value}`);
    }
  }
  return wrong;
}"""
"""The same rules, by the parser of the browser in which this is evaluated."""
