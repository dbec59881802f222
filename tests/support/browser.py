"""Chromium as Debian has it, and visits that write down whatever a page should never cause."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, async_playwright

CHROMIUM = "/usr/bin/chromium"
_FLAGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Chromium without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        await browser.close()


class Visit:
    """One page in a context of its own. `trouble` has what was logged, thrown, refused, popped up, or asked of others."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.trouble: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)

    async def go(self, place: str = "") -> int:
        """Open a place of the site, and give the status of its answer."""
        answer = await self.page.goto(self.url + place)
        assert answer is not None
        return answer.status

    def _on_console(self, message: ConsoleMessage) -> None:
        self.trouble.append(f"{message.type}: {message.text}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.trouble.append(f"request: {request.url}")


@asynccontextmanager
async def visiting(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visit]:
    """Visit a site, and see that nothing happened that never should. `options`: of the browser's context."""
    context = await browser.new_context(**options)
    visit = Visit(await context.new_page(), url)
    yield visit
    await context.close()
    assert visit.trouble == []
