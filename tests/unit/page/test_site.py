"""The page and the API as HTTP shows them: what is answered to what is asked, and what it costs the store."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from daemon.http.server import HttpServer
from daemon.http.status_page.reader import LINES_MOST, PAGE_LINES
from daemon.http.status_page.urls import conversation_place
from lockstore.core.events import Granted
from lockstore.core.statistics import DEEPEST
from tests.page.stage import AWAY, NOW_MS, Stage, StagedStore, line

FURTHEST_WAIT = [
    "view",
    "history",
]  # the line with the longest wait is on none of the first pages: its holder is looked for
IDS = ["user-42", "..", ".", "a/b", "/", "a\\b", "%2F", "a b+c?d=e#f&g", "👩‍👧", "ü", "<b>", "a\nb"]


@pytest.fixture
def stage() -> Stage:
    return Stage(StagedStore([line(f"c-{number:03}", *["b"] * (1 + number % 5)) for number in range(120)]))


class Client:
    """Asks one site."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, place: str) -> tuple[int, Any]:
        """Ask for JSON at a place that is encoded already."""
        async with self.session.get(URL(self.url + place, encoded=True)) as answer:
            return answer.status, await answer.json()

    async def page(self, place: str = "") -> tuple[int, str, dict[str, str]]:
        async with self.session.get(URL(self.url + place, encoded=True)) as answer:
            return answer.status, await answer.text(), dict(answer.headers)


@pytest_asyncio.fixture
async def client(stage: Stage) -> AsyncIterator[Client]:
    async with HttpServer("127.0.0.1", 0, stage.application()) as server, aiohttp.ClientSession() as session:
        yield Client(session, server.url)


async def test_lines_come_longest_first_and_in_pages(client: Client) -> None:
    status, first = await client.get("api/v1/lines?most=2")
    assert status == 200
    assert [(told["conversation_id"], told["tickets"]) for told in first["lines"]] == [("c-004", 5), ("c-009", 5)]
    assert (first["lines_total"], first["tickets_total"], first["waiting_total"]) == (120, 360, 240)
    assert (first["start"], first["most"], first["complete"], first["at_ms"]) == (0, 2, True, NOW_MS)
    _, second = await client.get("api/v1/lines?start=2&most=1")
    assert [told["conversation_id"] for told in second["lines"]] == ["c-014"]


async def test_lines_are_bounded_when_nobody_asks_for_a_number(client: Client) -> None:
    _, told = await client.get("api/v1/lines")
    assert len(told["lines"]) == PAGE_LINES


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("lines?most=0", f"most: must be a whole number from 1 to {LINES_MOST}"),
        (f"lines?most={LINES_MOST + 1}", f"most: must be a whole number from 1 to {LINES_MOST}"),
        ("lines?start=-1", f"start: must be a whole number from 0 to {DEEPEST}"),
        ("lines?start=%D9%A3", f"start: must be a whole number from 0 to {DEEPEST}"),
        (f"lines?start={'9' * 3000}", f"start: must be a whole number from 0 to {DEEPEST}"),
        ("lines?limit=3", "limit: unknown parameter; known parameters: start, most"),
        ("status?most=3", "most: unknown parameter; there are no parameters"),
        ("find", "text: must not be empty"),
        (f"find?text={'x' * 201}", "text: must be at most 200 characters"),
        ("conversations/", "the conversation id is missing, or not UTF-8"),
        ("conversations/%FF", "the conversation id is missing, or not UTF-8"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_reason(query: str, detail: str, client: Client) -> None:
    assert await client.get(f"api/v1/{query}") == (400, {"error": "invalid", "detail": detail})


@pytest.mark.parametrize("conversation_id", IDS)
async def test_a_conversation_of_any_name_is_found_in_path_and_query(
    conversation_id: str, stage: Stage, client: Client
) -> None:
    stage.store.lines_by_id = {conversation_id: line(conversation_id, "bot-1", "bot-2")}
    place = conversation_place(conversation_id)
    status, told = await client.get(f"api/v1/{place}")
    assert (status, told["conversation_id"], told["tickets_total"]) == (200, conversation_id, 2)
    status, text, _ = await client.page(place)
    assert status == 200
    assert "Held by" in text
    _, found = await client.get(f"api/v1/{URL.build(path='find', query={'text': conversation_id}).raw_path_qs}")
    assert [told["conversation_id"] for told in found["lines"]] == [conversation_id]


async def test_a_slash_that_somebody_decoded_on_the_way_does_no_harm(stage: Stage, client: Client) -> None:
    stage.store.lines_by_id = {"a/b": line("a/b", "bot-1")}
    _, told = await client.get("api/v1/conversations/a/b")
    assert told["conversation_id"] == "a/b"
    _, text, _ = await client.page("conversations/a/b")
    assert 'href="../../favicon.svg"' in text


async def test_a_conversation_tells_its_history_as_it_was_announced(stage: Stage, client: Client) -> None:
    common: dict[str, Any] = {"conversation_id": "c-000", "number": 7, "request_id": "r", "holder": "b"}
    stage.store.events = [Granted(**common, at_ms=NOW_MS, expires_at_ms=NOW_MS + 1000, waited_ms=250, behind=1)]
    _, told = await client.get("api/v1/conversations/c-000")
    assert told["history"] == [
        {
            "type": "granted",
            "conversation_id": "c-000",
            "ticket_number": 7,
            "request_id": "r",
            "holder": "b",
            "at": NOW_MS / 1000,
            "expires_at": NOW_MS / 1000 + 1,
            "waited": 0.25,
            "behind": 1,
        }
    ]


async def test_a_search_that_finds_more_than_it_shows_says_so(client: Client) -> None:
    _, told = await client.get("api/v1/find?text=c-0&most=3")
    assert [line["conversation_id"] for line in told["lines"]] == ["c-000", "c-001", "c-002"]
    assert (told["text"], told["most"], told["more"]) == ("c-0", 3, True)
    _, told = await client.get("api/v1/find?text=c-04&most=10")
    assert (len(told["lines"]), told["more"]) == (10, False)


async def test_many_who_look_cost_the_store_one_look(stage: Stage, client: Client) -> None:
    pages = await asyncio.gather(*(client.page() for _ in range(20)), *(client.page() for _ in range(20)))
    assert {status for status, _, _ in pages} == {200}
    await client.get("api/v1/status")
    assert stage.store.asked == ["survey", *FURTHEST_WAIT]


async def test_an_answer_is_no_older_than_a_moment(stage: Stage, client: Client) -> None:
    await client.page()
    stage.store.lines_by_id = {"new": line("new", "b")}
    _, text, _ = await client.page()
    assert ">new<" not in text
    stage.forget()
    _, text, _ = await client.page()
    assert ">new<" in text


async def test_who_looks_at_a_search_or_a_page_further_down_costs_one_look_more_for_the_totals(
    stage: Stage, client: Client
) -> None:
    await client.page("?start=50")
    assert stage.store.asked.count("survey") == 2
    assert set(stage.store.asked) == {"survey", *FURTHEST_WAIT}


async def test_a_store_that_is_away_is_told_and_not_asked_again_while_that_is_known(
    stage: Stage, client: Client
) -> None:
    stage.store.fault = AWAY
    away = (503, {"error": "store_away", "detail": "Connection refused"})
    for place in ("lines", "find?text=c", "conversations/c"):
        assert await client.get(f"api/v1/{place}") == away
    status, told = await client.get("api/v1/status")
    assert (status, told["totals"]) == (200, None)
    asked = len(stage.store.asked)
    stage.health.set("store_away", "Connection refused")
    assert await client.get("api/v1/lines") == away
    status, text, _ = await client.page()
    assert status == 200
    assert "The lock store does not answer" in text
    assert len(stage.store.asked) == asked


async def test_a_damaged_conversation_is_told_as_that(stage: Stage, client: Client) -> None:
    stage.store.damaged = {"c-000"}
    code, told = await client.get("api/v1/conversations/c-000")
    assert (code, told["error"], told["detail"]) == (500, "damaged", "not a ticket: number 'x'")
    assert [(found["subject"], found["severity"]) for found in told["findings"]] == [("c-000", "error")]
    status, text, _ = await client.page("conversations/c-000")
    assert status == 200
    assert "The data of this conversation is damaged" in text
    status, told = await client.get("api/v1/find?text=c-000")
    assert (status, told["lines"][0]["state"]) == (200, "empty")


async def test_the_status_tells_readiness_daemons_partitions_and_minutes(stage: Stage, client: Client) -> None:
    stage.health.set("broker_blocked", "short of memory")
    status, told = await client.get("api/v1/status")
    assert status == 200
    assert (told["ready"], told["reasons"][0]["reason"]) == (False, "broker_blocked")
    assert told["totals"] == {
        "lines": 120,
        "tickets": 360,
        "waiting": 240,
        "waiting_longest_ms": 3000,
        "waiting_longest_in": "c-001",
    }
    assert (told["partitions"], told["partitions_without_messages"], told["daemons"]) == (1, [0], [])
    lengths = {len(values) for values in told["minutes"].values() if isinstance(values, list)}
    assert lengths == {120}
    assert told["minutes"]["step_s"] == 5


async def test_a_page_runs_only_what_is_its_own(client: Client) -> None:
    for place in ("", "?find=c", "conversations/c-000", "?start=x"):
        _, text, headers = await client.page(place)
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert re.fullmatch(r"'sha256-\S+'", policy["script-src"])
        assert re.fullmatch(r"'sha256-\S+'", policy["style-src"])
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(" ".join(policy.values()).split())
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert not re.findall(r"""(?:src|href|action)=["']?(?:https?:)?//""", text)


async def test_a_page_of_nonsense_says_what_is_wrong(client: Client) -> None:
    status, text, _ = await client.page("?start=x")
    assert status == 400
    assert f"start: must be a whole number from 0 to {DEEPEST}" in text


async def test_the_list_ends_where_the_store_stops_and_says_how_to_go_on(stage: Stage, client: Client) -> None:
    stage.store.lines_by_id = {f"c-{number}": line(f"c-{number}", "b") for number in range(DEEPEST + 200)}
    _, text, _ = await client.page(f"?start={DEEPEST - PAGE_LINES}")
    assert text.count("<tr") == PAGE_LINES + 1
    assert "Shorter lines" not in text
    assert "find those further down" in text
