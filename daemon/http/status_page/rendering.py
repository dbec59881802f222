"""From facts to HTML: the templates, escaped by themselves; style and script in the page, named by their hashes."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from daemon.http.status_page.urls import conversation_place
from daemon.views import text as words

__all__ = ["FAVICON", "HTML_HEADERS", "Renderer"]

EVERY_S = 2
"""How often a page brings itself up to date."""

RELOAD_S = 10
"""How often it loads itself anew where no script runs; what is being typed there is lost then."""

LONG_WAIT_MS = 60_000
"""A wait that is marked: whoever wrote that message has mostly given up by then."""

_FOLDER = files("daemon.http.status_page") / "templates"
_STYLE, _SCRIPT = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))

FAVICON = (_FOLDER / "favicon.svg").read_bytes()


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_POLICY = {
    "default-src": "'none'",
    "style-src": _hash(_STYLE),
    "script-src": _hash(_SCRIPT),
    "connect-src": "'self'",  # the page asks for itself again
    "img-src": "'self'",  # its icon
    "form-action": "'self'",  # the search
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # no text becomes markup or code, not even by a mistake of ours
    "trusted-types": "'none'",
}

HTML_HEADERS = {"Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items())}
"""What a page carries beyond what every answer does: it runs its own style and script, and no other."""


class Renderer:
    """The templates of one daemon."""

    def __init__(self, namespace: str, host: str) -> None:
        """Take what stands in the head of every page."""
        self._templates = Environment(
            loader=PackageLoader("daemon.http.status_page"),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "age": words.age,
            "clock": words.clock,
            "per_second": words.per_second,
            "place": conversation_place,
            "plain": words.plain,
            "ranges": words.ranges,
            "release_command": words.release_command,
            "stamp": words.stamp,
            "described": words.describe_event,
            "whole": words.whole,
        }
        self._templates.globals |= {
            "every_s": EVERY_S,
            "host": host,
            "long_wait_ms": LONG_WAIT_MS,
            "namespace": namespace,
            "reload_s": RELOAD_S,
            "script": Markup(_SCRIPT),  # noqa: S704 - our own files, and no text of anybody's in them
            "style": Markup(_STYLE),  # noqa: S704 - likewise
        }

        for name in self._templates.list_templates(["html"]):
            self._templates.get_template(name)  # now, from the files of this version: an upgrade may replace them

    def page(self, template: str, root: str, **facts: Any) -> str:
        """Fill a template. `root` leads from the page's place to the status page's."""
        return self._templates.get_template(template).render(root=root, **facts)
