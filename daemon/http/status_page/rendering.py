"""Renders facts as HTML: the templates with automatic escaping; style and script are inlined and identified by hash."""

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
"""The interval at which a page updates itself."""

RELOAD_S = 10
"""The interval at which it reloads itself without scripts, which discards text being typed."""

LONG_WAIT_MS = 60_000
"""The wait from which a line is highlighted: the user has probably given up by then."""

_FOLDER = files("daemon.http.status_page") / "templates"
_STYLE, _SCRIPT = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))

FAVICON = (_FOLDER / "favicon.svg").read_bytes()


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_POLICY = {
    "default-src": "'none'",
    "style-src": _hash(_STYLE),
    "script-src": _hash(_SCRIPT),
    "connect-src": "'self'",  # the page fetches itself
    "img-src": "'self'",  # its icon
    "form-action": "'self'",  # the search
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # no text becomes markup or code, even through a mistake of ours
    "trusted-types": "'none'",
}

HTML_HEADERS = {"Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items())}
"""Headers of a page in addition to the general ones: it runs only its own style and script."""


class Renderer:
    """The templates of one daemon."""

    def __init__(self, namespace: str, host: str) -> None:
        """`namespace` and `host` are shown at the top of every page."""
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
            "script": Markup(_SCRIPT),  # noqa: S704 - our own files, without user text
            "style": Markup(_STYLE),  # noqa: S704 - our own files, without user text
        }

        for name in self._templates.list_templates(["html"]):
            self._templates.get_template(name)  # loaded now, from this version's files: an upgrade may replace them

    def page(self, template: str, root: str, **facts: Any) -> str:
        """Render a template. `root` is the relative path to the status page."""
        return self._templates.get_template(template).render(root=root, **facts)
