"""The pages in a real Chromium: what hostile texts do, what is seen, how it keeps itself up to date."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from daemon.http.server import HttpServer
from daemon.http.status_page.rendering import EVERY_S, RELOAD_S
from daemon.http.status_page.urls import conversation_place
from lockstore.core.events import Granted, Released
from tests.page.stage import AWAY, NOW_MS, Stage, StagedStore, line
from tests.support.browser import Visit, visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE: Final = [
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 2'>",
    '"><svg onload="window.ran = 3">',
    "' onmouseover='window.ran = 4' autofocus onfocus='window.ran = 5",
    "</title></style></script><script>window.ran = 6</script>",
    "javascript:window.ran=7",
    "{{ 7 * 7 }}{% raw %}${window.ran=8}",
    "<!--<meta http-equiv=refresh content='0;url=javascript:window.ran=9'>",
    "<base href='https://elsewhere.example/'><a href=x id=live>",
    "\u202egnp.exe\u2066 a\u0000b",
    "&lt;script&gt; &#60;b&#62;",
]
ODD: Final = ["..", ".", "a/b", "/", "//etc", "a\\b", "%2F", "a b+c?d=e#f&g", "👩‍👧 ü 日本", "x" * 200]

SEEN: Final = {"\u202e": "⟨U+202E⟩", "\u2066": "⟨U+2066⟩", "\u0000": "⟨U+0000⟩"}


def seen(text: str) -> str:
    """Give a text as the page shows it."""
    return "".join(SEEN.get(sign, sign) for sign in text)


@asynccontextmanager
async def site(stage: Stage) -> AsyncIterator[str]:
    async with HttpServer("127.0.0.1", 0, stage.application()) as server:
        yield server.url


@asynccontextmanager
async def visit(browser: Browser, stage: Stage, **options: object) -> AsyncIterator[Visit]:
    async with site(stage) as url, visiting(browser, url, **options) as visited:
        yield visited


def stage_of(*lines: str) -> Stage:
    return Stage(StagedStore([line(name, "bot-1", "bot-2") for name in lines]))


async def has_run(page: Page) -> bool:
    return bool(await page.evaluate("'ran' in window"))


async def test_hostile_ids_and_holders_are_shown_as_they_are_and_run_nothing(browser: Browser) -> None:
    lines = [line(text, text, text, reply_to=text) for text in HOSTILE]
    async with visit(browser, Stage(StagedStore(lines))) as here:
        await here.go()
        shown = await here.page.get_by_role("rowheader").locator("bdi").all_inner_texts()
        assert set(shown) == {seen(text) for text in HOSTILE}
        for text in HOSTILE:
            await here.page.hover(f"tr[data-key={css_text(text)}] a")
        assert not await has_run(here.page)
        assert here.page.url == here.url


def css_text(text: str) -> str:
    """Write a text as CSS takes it. U+0000 becomes U+FFFD in attributes, as everywhere in HTML."""
    return '"' + "".join(f"\\{ord(sign):x} " for sign in text.replace("\u0000", "\ufffd")) + '"'


async def test_a_hostile_conversation_has_a_page_that_runs_nothing(browser: Browser) -> None:
    events = [
        Released(
            conversation_id=text,
            number=1,
            request_id=text,
            holder=text,
            at_ms=NOW_MS - 5000,
            held_ms=10,
            reason="forced",
            by=text,
        )
        for text in HOSTILE
    ]
    store = StagedStore([line(text, text, text, reply_to=text) for text in HOSTILE], events)
    async with visit(browser, Stage(store)) as here:
        for text in HOSTILE:
            assert await here.go(conversation_place(text)) == 200
            await expect(here.page.get_by_role("heading", level=1)).to_contain_text(seen(text))
            assert seen(text) in await here.page.title()
            assert await here.page.get_by_text(seen(text), exact=True).count() >= 6
            assert not await has_run(here.page)


async def test_a_hostile_search_is_shown_as_it_is_and_runs_nothing(browser: Browser) -> None:
    async with visit(browser, stage_of("c")) as here:
        await here.go()
        for text in HOSTILE:
            if "\u0000" in text:
                continue  # no field takes it
            await here.page.get_by_role("searchbox").fill(text)
            await here.page.keyboard.press("Enter")
            await expect(here.page.get_by_role("heading", name="Lines with")).to_contain_text(seen(text))
            await expect(here.page.get_by_role("searchbox")).to_have_value(text)
            assert not await has_run(here.page)


async def test_hostile_texts_that_come_with_an_update_run_nothing(browser: Browser) -> None:
    stage = stage_of("c")
    async with visit(browser, stage) as here:
        await start(here)
        stage.store.lines_by_id |= {text: line(text, text) for text in HOSTILE}
        await later(here, stage)
        await expect(here.page.get_by_role("rowheader")).to_have_count(len(HOSTILE) + 1)
        assert not await has_run(here.page)


async def test_a_conversation_of_any_name_is_reached_by_its_link_and_left_again(browser: Browser) -> None:
    async with visit(browser, stage_of(*ODD)) as here:
        await here.go()
        for name in ODD:
            await here.page.locator(f"tr[data-key={css_text(name)}] a").click()
            await expect(here.page.get_by_role("heading", level=1)).to_have_text(f"Conversation {name}")
            await expect(here.page.get_by_text("Held by bot-1")).to_be_visible()
            await here.page.get_by_role("link", name="All lines").click()
            await expect(here.page.get_by_role("rowheader")).to_have_count(len(ODD))


def row_link(here: Visit, name: str) -> Locator:
    return here.page.get_by_role("rowheader").get_by_role("link", name=name, exact=True)


async def test_where_somebody_waits_longest_is_one_step_away_however_short_that_line_is(browser: Browser) -> None:
    stage = stage_of(*[f"c-{number:03}" for number in range(120)])
    stage.store.lines_by_id["stuck/1"] = line(
        "stuck/1", "bot-1", "bot-2", held_ms=400_000, lease_ms=900_000, waited_ms=390_000
    )
    async with visit(browser, stage) as here:
        await here.go()
        await expect(row_link(here, "stuck/1")).to_have_count(0)
        await here.page.get_by_role("link", name="stuck/1").click()
        await expect(here.page.get_by_text("Held by bot-1 with ticket 7 for 6 min 40 s")).to_be_visible()


async def start(here: Visit, place: str = "") -> None:
    """Open a place with a clock that the test moves."""
    await here.page.clock.install()
    await here.go(place)


async def later(here: Visit, stage: Stage) -> None:
    """Let the time of one update pass, for the browser and for what the site keeps."""
    stage.forget()
    await here.page.clock.run_for(EVERY_S * 1000 + 100)


async def test_the_page_keeps_itself_up_to_date(browser: Browser) -> None:
    stage = stage_of("old")
    async with visit(browser, stage) as here:
        await start(here)
        stage.store.lines_by_id = {"new": line("new", "bot-7", *["b"] * 3)}
        await later(here, stage)
        await expect(here.page.get_by_role("rowheader")).to_have_text(["new"])
        await expect(here.page.get_by_role("row", name="new")).to_contain_text("bot-7")
        assert "3 waiting" in await here.page.title()


async def test_focus_and_what_is_typed_survive_an_update_in_which_lines_change_places(browser: Browser) -> None:
    stage = stage_of("a", "b", "c")
    async with visit(browser, stage) as here:
        await start(here)
        await here.page.get_by_role("searchbox").fill("half a wo")
        await row_link(here, "b").focus()
        stage.store.lines_by_id["c"] = line("c", *["bot"] * 9)
        stage.store.lines_by_id["b"] = line("b", *["bot"] * 5)
        del stage.store.lines_by_id["a"]
        await later(here, stage)
        await expect(here.page.get_by_role("rowheader")).to_have_text(["c", "b"])
        await expect(row_link(here, "b")).to_be_focused()
        await expect(here.page.get_by_role("searchbox")).to_have_value("half a wo")


async def test_updates_can_be_paused(browser: Browser) -> None:
    stage = stage_of("old")
    async with visit(browser, stage) as here:
        await start(here)
        await here.page.get_by_role("button", name="Pause updates").click()
        stage.store.lines_by_id = {"new": line("new", "bot-7")}
        await later(here, stage)
        await later(here, stage)
        await expect(here.page.get_by_role("rowheader")).to_have_text(["old"])
        await expect(here.page.get_by_role("status")).to_contain_text("As of")
        await here.page.get_by_role("button", name="Go on updating").click()
        await expect(here.page.get_by_role("rowheader")).to_have_text(["new"])


async def test_a_daemon_that_does_not_answer_is_told_until_it_answers_again(browser: Browser) -> None:
    stage = stage_of("c")
    async with visit(browser, stage) as here:
        await start(here)
        await here.page.route("**/*", lambda route: route.abort())
        await later(here, stage)
        await expect(here.page.get_by_role("status")).to_contain_text("No answer since")
        await expect(here.page.get_by_role("rowheader")).to_have_text(["c"])
        await here.page.unroute("**/*")
        await later(here, stage)
        await expect(here.page.get_by_role("status")).to_be_empty()
        here.trouble = [told for told in here.trouble if "ERR_FAILED" not in told]


async def test_without_script_the_page_loads_itself_anew(browser: Browser) -> None:
    stage = stage_of("old")
    async with visit(browser, stage, java_script_enabled=False) as here:
        await here.go()
        await expect(here.page.get_by_role("rowheader")).to_have_text(["old"])
        await expect(here.page.get_by_role("button", name="Pause updates")).to_be_hidden()
        refresh = here.page.locator("meta[http-equiv=refresh]")
        assert await refresh.get_attribute("content") == str(RELOAD_S)


async def test_with_script_the_page_never_loads_itself_anew(browser: Browser) -> None:
    async with visit(browser, stage_of("c")) as here:
        await here.go()
        await expect(here.page.locator("meta[http-equiv=refresh]")).to_have_count(0)


async def test_what_is_wrong_is_said_first_and_what_is_right_again_no_more(browser: Browser) -> None:
    stage = stage_of("c")
    stage.health.set("broker_blocked", "short of memory <b>now</b>")
    stage.store.fault = AWAY
    async with visit(browser, stage) as here:
        await start(here)
        await expect(here.page.get_by_role("heading", level=2).first).to_have_text("This daemon is not ready")
        await expect(here.page.get_by_text("short of memory <b>now</b>")).to_be_visible()
        await expect(here.page.get_by_role("heading", name="The lock store does not answer")).to_be_visible()
        assert "⚠" in await here.page.title()
        stage.health.clear("broker_blocked")
        stage.store.fault = None
        await later(here, stage)
        await expect(here.page.get_by_text("Ready", exact=True)).to_be_visible()
        await expect(here.page.get_by_role("rowheader")).to_have_text(["c"])
        await expect(here.page.get_by_text("not ready")).to_have_count(0)


CONTRAST: Final = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colors) => {
    canvas.fillStyle = "#fff"; canvas.fillRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const [a, b] = [light(over(grounds)), light(over([...grounds, getComputedStyle(element).color]))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def trouble_stage() -> Stage:
    """Make a stage on which every colour is seen."""
    past = Granted(
        conversation_id="c", number=7, request_id="r", holder="b", at_ms=NOW_MS, expires_at_ms=0, waited_ms=1, behind=0
    )
    lines = [line("c", "bot-1", "bot-2", waited_ms=90_000), line("overdue", "bot-1", held_ms=80_000)]
    stage = Stage(StagedStore(lines, [past]))
    stage.health.set("broker_blocked", "short of memory")
    return stage


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read_in_light_and_dark(scheme: str, browser: Browser) -> None:
    async with visit(browser, trouble_stage(), color_scheme=scheme) as here:
        for place in ("", "conversations/c", "conversations/overdue"):
            await here.go(place)
            assert await here.page.evaluate(CONTRAST) == []
        ground = await here.page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground)))
        assert (brightness < 200) == (scheme == "dark")


async def test_no_width_makes_the_page_scroll_sideways(browser: Browser) -> None:
    store = StagedStore([line("x" * 200, "h" * 128, "b", reply_to="q" * 255), line("c", "b")])
    async with visit(browser, Stage(store)) as here:
        for place in ("", "?find=x", f"conversations/{'x' * 200}"):
            await here.go(place)
            for width in (320, 768, 1200):
                await here.page.set_viewport_size({"width": width, "height": 700})
                wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert await here.page.evaluate(wide) == 0, (place, width)


async def test_the_page_can_be_used_by_keyboard_and_tells_a_screen_reader_what_is_what(browser: Browser) -> None:
    async with visit(browser, stage_of("a", "b")) as here:
        await here.go()
        await here.page.keyboard.press("Tab")
        await expect(here.page.get_by_role("link", name="To the content")).to_be_focused()
        table = here.page.get_by_role("table", name="Lines: who holds")
        await expect(table.get_by_role("columnheader")).to_have_count(7)
        await expect(table.get_by_role("row", name="a").get_by_role("rowheader")).to_have_text("a")
        await expect(here.page.get_by_role("img", name="Requests over the last minutes")).to_be_visible()
        await expect(here.page.get_by_role("main")).to_have_count(1)
        await expect(here.page.get_by_role("search")).to_have_count(1)
        await here.page.get_by_role("searchbox", name="Part of a conversation id").focus()
        await here.page.keyboard.type("b")
        await here.page.keyboard.press("Tab")
        await here.page.keyboard.press("Enter")
        await expect(table.get_by_role("rowheader")).to_have_text(["b"])


async def test_on_a_phone_a_table_is_still_a_table_to_a_screen_reader(browser: Browser) -> None:
    async with visit(browser, stage_of("a"), viewport={"width": 360, "height": 700}) as here:
        await here.go()
        row = here.page.get_by_role("table", name="Lines: who holds").get_by_role("row", name="a")
        await expect(row.get_by_role("cell")).to_have_count(6)


async def test_pages_lead_on_and_back(browser: Browser) -> None:
    async with visit(browser, stage_of(*[f"c-{number:03}" for number in range(120)])) as here:
        await here.go()
        await here.page.get_by_role("link", name="Shorter lines").click()
        await expect(here.page.get_by_text("51\u2013100 of 120")).to_be_visible()
        await here.page.get_by_role("link", name="Shorter lines").click()
        await expect(here.page.get_by_text("101\u2013120 of 120")).to_be_visible()
        await expect(here.page.get_by_role("rowheader")).to_have_count(20)
        await expect(here.page.get_by_role("link", name="Shorter lines")).to_have_count(0)
        for _ in range(2):
            await here.page.get_by_role("link", name="Longer lines").click()
        await expect(here.page.get_by_text("1\u201350 of 120")).to_be_visible()
        assert here.page.url == here.url
