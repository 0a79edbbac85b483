"""Two clients of one session in Chromium: whatever breaks, everything comes back, once and in order."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.watching import Client, Demo, Room

pytestmark = pytest.mark.browser

TEXT = "The train leaves at ten, and nobody is la"

# The input and the reload in one turn of the loop: there is no moment in which an answer could come.
TYPE_AND_RELOAD = """text => {
  const note = document.getElementById("note");
  note.value = text;
  note.dispatchEvent(new Event("input"));
  location.reload();
}"""


def has_receipt(client: Client) -> None:
    expect(client.part("receipt").locator(".receipt-verdict")).to_have_text("Everything came back")


def unanswered(client: Client) -> re.Pattern[str]:
    return re.compile(rf"{client.name} lost its connection .*, [1-9]\d* writes unanswered")


def test_what_one_client_does_the_other_shows(room: Room, demo: Demo) -> None:
    one, two = room.one, room.two
    one.part("item").fill("Passport")
    one.part("item").press("Enter")
    two.part("items").get_by_role("checkbox", name="Passport").check()
    expect(one.part("items").get_by_role("checkbox")).to_be_checked()
    one.part("note").press_sequentially(TEXT)
    expect(two.part("note")).to_have_value(TEXT)
    one.part("plus").click()
    two.part("plus").click()
    for client in (one, two):
        expect(client.part("count")).to_have_text("2")
    two.part("words").fill("It will rain.")
    two.part("words").press("Enter")
    expect(one.part("chat")).to_contain_text("It will rain.")
    # Opened anew, with nothing in its memory: the chat has its last hour.
    page = room.page.context.new_page()
    again = Room.enter(page, demo)
    expect(again.one.part("chat").locator("li")).to_have_text(["Client two It will rain."])
    page.close()


def test_a_question_to_the_server_is_answered_once(room: Room) -> None:
    room.one.part("dice").click()
    expect(room.one.part("answer")).to_have_text(re.compile(r"^Process \d+ rolled a [1-6]\.$"))
    thrown = re.findall(r"rolled a (\d)", room.one.part("answer").inner_text())
    expect(room.two.part("chat").locator("li")).to_have_text([f"Server Client one rolled a {thrown[0]}"])


def test_a_network_that_is_held_without_a_close_is_noticed_and_survived(room: Room) -> None:
    room.start_writing()
    room.one.cut_or_mend()
    room.one.has_unanswered(20)
    # Nobody closed anything: only the heartbeat can tell.
    expect(room.one.part("status")).to_have_attribute("data-status", "reconnecting")
    room.two.is_connected()
    room.one.cut_or_mend()
    room.stop_writing_and_settle()
    has_receipt(room.one)
    room.check_nothing_lost_nothing_doubled()


def test_a_network_that_is_mended_before_anybody_noticed_loses_nothing(room: Room) -> None:
    room.start_writing()
    for client in (room.one, room.two):
        client.cut_or_mend()
        client.has_unanswered(10)
        client.cut_or_mend()
        has_receipt(client)
    room.stop_writing_and_settle()
    room.check_nothing_lost_nothing_doubled()


def test_a_frozen_browser_network_thaws_without_loss(room: Room, context: BrowserContext) -> None:
    room.start_writing()
    context.set_offline(True)
    room.one.has_unanswered(30)
    room.two.has_unanswered(30)
    context.set_offline(False)
    room.stop_writing_and_settle()
    room.check_nothing_lost_nothing_doubled()


def test_reloading_while_typing_keeps_what_was_typed(room: Room) -> None:
    room.one.part("note").press_sequentially(TEXT)
    room.one.frame.evaluate(TYPE_AND_RELOAD, f"{TEXT}te")
    room.one.is_connected()
    expect(room.one.part("note")).to_have_value(f"{TEXT}te")
    expect(room.two.part("note")).to_have_value(f"{TEXT}te")
    assert room.document()["note"] == f"{TEXT}te"


def test_what_was_typed_without_a_network_survives_a_reload(room: Room) -> None:
    room.one.cut_or_mend()
    expect(room.one.bar).to_have_attribute("data-cut", "true")
    room.one.part("note").press_sequentially(TEXT)
    room.one.reload()
    room.one.cut_or_mend()
    expect(room.two.part("note")).to_have_value(TEXT)
    expect(room.one.part("note")).to_have_value(TEXT)


def test_texts_that_both_wrote_are_both_shown_and_either_can_be_taken(room: Room) -> None:
    one, two = room.one, room.two
    one.part("note").fill("First")
    expect(two.part("note")).to_have_value("First")
    one.cut_or_mend()
    expect(one.bar).to_have_attribute("data-cut", "true")
    one.part("note").fill("Written in the train")
    two.part("note").fill("Written at home")
    while room.document()["note"] != "Written at home":
        # The page shows only what waits, and not that something is about to.
        pass
    one.cut_or_mend()
    conflict = one.part("conflicts")
    expect(conflict.locator(".theirs")).to_have_text("Written at home")
    expect(conflict.locator(".mine")).to_have_text("Written in the train")
    expect(one.part("receipt").locator(".receipt-verdict")).to_have_attribute("data-verdict", "overruled")
    one.reload()
    expect(conflict.locator(".mine")).to_have_text("Written in the train")
    conflict.get_by_role("button", name="Take mine").click()
    expect(two.part("note")).to_have_value("Written in the train")
    expect(conflict).to_be_hidden()
    assert room.document()["note"] == "Written in the train"


def test_what_is_said_without_a_network_shows_as_waiting_until_it_is_there(room: Room) -> None:
    room.one.cut_or_mend()
    expect(room.one.bar).to_have_attribute("data-cut", "true")
    room.one.part("words").fill("Is anybody there?")
    room.one.part("words").press("Enter")
    line = room.one.part("chat").locator("li")
    expect(line).to_have_attribute("data-state", "waiting")
    room.one.reload()
    expect(line).to_have_attribute("data-state", "waiting")
    room.one.cut_or_mend()
    expect(room.two.part("chat").locator("li")).to_have_text(["Client one Is anybody there?"])
    expect(line).to_have_count(1)
    expect(line).not_to_have_attribute("data-state", "waiting")


def test_reloading_while_both_write_loses_nothing(room: Room) -> None:
    room.start_writing()
    for client in (room.one, room.two, room.one):
        before = room.written()[client.name]["sent"]
        client.reload()
        room.has_written(client.name, before + 20)
        client.is_connected()
    room.stop_writing_and_settle()
    room.check_nothing_lost_nothing_doubled()
    assert [len(client.lives()) for client in (room.one, room.two)] == [3, 2]


def test_a_killed_server_loses_nothing_of_what_both_write(room: Room) -> None:
    room.start_writing()
    told = room.page.locator("#story li")
    kills = 0
    # Until each client has lost its connection with something unanswered at least once.
    while kills < 2 or not all(told.filter(has_text=unanswered(client)).count() for client in (room.one, room.two)):
        before = {client: told.filter(has_text=f"{client.name} is back").count() for client in (room.one, room.two)}
        room.page.locator("#kill").click()
        kills += 1
        for client, times in before.items():
            expect(told.filter(has_text=f"{client.name} is back").nth(times)).to_be_attached()
            client.is_connected()
            room.has_written(client.name, room.written()[client.name]["sent"] + 10)
    room.stop_writing_and_settle()
    for client in (room.one, room.two):
        has_receipt(client)
    room.check_nothing_lost_nothing_doubled()


def test_everything_at_once_loses_nothing(room: Room) -> None:
    room.start_writing()
    room.one.cut_or_mend()
    room.one.has_unanswered(10)
    room.page.locator("#kill").click()
    room.two.reload()
    room.two.is_connected()
    room.one.cut_or_mend()
    room.one.is_connected()
    room.stop_writing_and_settle()
    room.check_nothing_lost_nothing_doubled()


@pytest.mark.parametrize("viewport", [{"width": 320, "height": 844}])
def test_a_phone_shows_it_all_without_scrolling_sideways(room: Room, page: Page, demo: Demo) -> None:
    room.one.part("note").fill("One long word: " + "w" * 120)
    room.one.part("words").fill("w" * 120)
    room.one.part("words").press("Enter")
    expect(room.two.part("chat").locator("li")).to_have_count(1)
    room.start_writing()
    room.stop_writing_and_settle()
    for frame in page.frames:
        assert frame.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 320 and box["height"] >= 36
