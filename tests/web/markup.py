"""Whether a page is proper HTML, as far as that can be seen without a checker: what a template gets wrong is one of these."""

import re
from collections import Counter
from html.parser import HTMLParser

VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
BOOLEAN = frozenset(
    "async autofocus checked controls defer disabled hidden inert multiple novalidate open readonly required reversed selected".split()
)
REFERS = frozenset(
    ("for", "form", "list", "headers", "aria-describedby", "aria-labelledby", "aria-controls", "aria-owns")
)
ALONE = frozenset(("a", "button", "form", "label"))  # none inside of one of its kind
TIMED = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?")


def faults(html: str) -> list[str]:
    """What is wrong with a whole page or a part of one, each with its line; empty when nothing is."""
    reader = _Reader(is_whole=html.lstrip()[:9].lower() == "<!doctype")
    reader.feed(html)
    reader.close()
    return reader.faults()


class _Reader(HTMLParser):
    def __init__(self, *, is_whole: bool) -> None:
        super().__init__()
        self._is_whole = is_whole  # what a part refers to may be elsewhere on its page
        self._found: list[str] = []
        self._open: list[str] = []
        self._ids: Counter[str] = Counter()
        self._named: list[tuple[int, str, str]] = []

    def faults(self) -> list[str]:
        found = [*self._found, *(f"<{tag}> is never closed" for tag in self._open)]
        found += [f"id {id} is there {times} times" for id, times in self._ids.items() if times > 1]
        if self._is_whole:
            found += [
                f"{line}: {name} names {id}, which is not there" for line, name, id in self._named if not self._ids[id]
            ]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ALONE and tag in self._open:
            self._fault(f"<{tag}> inside of another")
        self._look_at(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look_at(tag, attrs)
        if tag not in VOID and "svg" not in self._open:
            self._fault(f"<{tag}/> is not closed by its slash")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self._fault(f"</{tag}> ends <{self._open[-1] if self._open else 'nothing'}>")

    def _look_at(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, times in Counter(name for name, _ in attrs).items():
            if times > 1:
                self._fault(f"<{tag}> has {name} {times} times")
        for name, given in attrs:
            value = given or ""
            if name == "id":
                self._ids[value] += 1
            elif name in REFERS:
                self._named += [(self.getpos()[0], name, id) for id in value.split()]
            elif name == "href" and value.startswith("#"):
                self._named.append((self.getpos()[0], name, value[1:]))
            elif name in BOOLEAN and value.lower() not in ("", name):
                self._fault(f'{name}="{value}" on <{tag}>: it is there or not')
            elif name == "datetime" and not TIMED.fullmatch(value):
                self._fault(f'datetime="{value}" is no time')
            elif name == "autocomplete" and value == "street-address" and tag != "textarea":
                self._fault("street-address is for several lines")

    def _fault(self, words: str) -> None:
        self._found.append(f"{self.getpos()[0]}: {words}")
