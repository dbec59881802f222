"""Histories with one planted fault each, and histories that look odd and are lawful."""

from harness.history import PUBLIC, FaultKind, judge
from tests.history.story import REPLY, Story, two_turns


def test_an_orderly_history_is_well() -> None:
    verdict = two_turns().verdict()
    assert verdict.is_well
    assert (verdict.requests, verdict.confirmed, verdict.grants, verdict.again) == (2, 2, 2, 0)
    assert verdict.ends == {"released (holder)": 2}


def test_a_history_without_a_grant_is_not_well() -> None:
    verdict = Story().verdict()
    assert not verdict.faults
    assert not verdict.is_well


def test_a_fault_names_the_messages_that_prove_it() -> None:
    (fault,) = two_turns().released("a", 1, 13, id="other").verdict().faults[:1]
    assert fault.kind is FaultKind.DOUBLED
    assert [str(item).partition(" (")[0] for item in fault.proof] == ["heard by public"] * 2


# --- inversions ---------------------------------------------------------------------------------------------------------


def crossed(story: Story) -> Story:
    """Have the request `b` get its ticket before `a`."""
    return story.granted("b", 1, 10).released("b", 1, 11).granted("a", 2, 12).released("a", 2, 13)


def test_numbers_against_the_order_of_one_channel_are_an_inversion() -> None:
    assert crossed(Story().asks("p1", "a").asks("p1", "b")).faults() == [
        "inversion: c: a was published on the same channel before b, and got ticket 2 after 1"
    ]


def test_they_are_one_without_confirmations_too_for_a_number_shows_that_the_broker_had_it() -> None:
    unconfirmed = Story().asks("p1", "a", confirmed_at=None).asks("p1", "b", confirmed_at=None)
    assert len(crossed(unconfirmed).faults()) == 1


def test_over_two_channels_the_order_of_sending_proves_nothing() -> None:
    assert crossed(Story().asks("p1", "a", confirmed_at=9).asks("p2", "b", confirmed_at=9)).faults() == []


def test_over_two_channels_a_confirmation_before_the_other_was_sent_proves_it() -> None:
    assert crossed(Story().asks("p1", "a").asks("p2", "b")).faults() == [
        "inversion: c: a was confirmed before there was b, and got ticket 2 after 1"
    ]


def test_a_confirmation_at_the_moment_of_sending_proves_nothing() -> None:
    assert crossed(Story().asks("p1", "a", confirmed_at=1.0).asks("p2", "b", sent_at=1.0)).faults() == []


def test_the_highest_number_that_was_confirmed_counts() -> None:
    story = Story().asks("p1", "a").asks("p2", "b").asks("p3", "d")
    story.granted("b", 1, 10).released("b", 1, 11).granted("d", 2, 12).released("d", 2, 13)
    assert story.granted("a", 3, 14).released("a", 3, 15).faults() == [
        "inversion: c: a was confirmed before there was b, and got ticket 3 after 1",
        "inversion: c: a was confirmed before there was d, and got ticket 3 after 2",
    ]


def test_a_request_whose_first_message_may_have_got_lost_counts_from_its_second() -> None:
    story = Story().asks("p1", "a", confirmed_at=None).asks("p1", "b").asks("p1", "a")
    assert crossed(story).faults() == []


def test_a_request_that_was_also_sent_on_another_channel_may_be_there_first() -> None:
    story = Story().asks("p2", "b", confirmed_at=9).asks("p1", "a", confirmed_at=9).asks("p1", "b", confirmed_at=9)
    assert crossed(story).faults() == []


def test_another_conversation_has_an_order_of_its_own() -> None:
    story = Story().asks("p1", "a", conversation="d").asks("p1", "b")
    story.granted("b", 1, 10).released("b", 1, 11)
    story.granted("a", 2, 12, conversation_id="d").released("a", 2, 13, conversation_id="d")
    assert story.faults() == []


def test_a_grant_before_the_one_ahead_is_an_inversion() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").asks("p1", "c").granted("a", 1, 10)
    story.queued("b", 2, 11).queued("c", 3, 11, position=2).released("a", 1, 12)
    story.granted("c", 3, 12).released("c", 3, 13).granted("b", 2, 13).released("b", 2, 14)
    assert story.faults() == ["inversion: c: ticket 3 was granted 1000 ms before ticket 2"]


def passing_over(left_at: float) -> Story:
    """Have `b` leave the line, and `c` be granted at 12."""
    story = Story().asks("p1", "a").asks("p1", "b").publishes("release", "p1", request_id="b").asks("p1", "c")
    story.granted("a", 1, 10).queued("b", 2, 11).queued("c", 3, 11, position=2).released("a", 1, 12)
    story.granted("c", 3, 12, behind=0).cancelled("b", 2, left_at)
    return story.released("c", 3, 15)


def test_a_grant_over_one_who_waits_is_an_inversion() -> None:
    assert passing_over(left_at=13).faults() == [
        "inversion: c: ticket 3 was granted 1000 ms before ticket 2 had left the line"
    ]


def test_who_left_the_line_before_or_in_the_same_step_is_not_passed_over() -> None:
    assert passing_over(left_at=11.5).faults() == []
    assert passing_over(left_at=12).faults() == []


# --- overlaps -----------------------------------------------------------------------------------------------------------


def test_a_lease_that_begins_before_the_end_of_another_is_an_overlap() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10).queued("b", 2, 11)
    story.granted("b", 2, 12).released("a", 1, 12.001).released("b", 2, 14)
    assert story.faults() == ["overlap: c: ticket 2 was granted 1 ms before the lease of ticket 1 ended"]


def test_a_long_lease_overlaps_with_all_that_begin_meanwhile() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").asks("p1", "d").granted("a", 1, 10)
    story.queued("b", 2, 11).granted("b", 2, 12).released("b", 2, 13)
    story.queued("d", 3, 14).granted("d", 3, 15).released("d", 3, 16).released("a", 1, 20)
    assert story.faults() == [
        "overlap: c: ticket 2 was granted 8000 ms before the lease of ticket 1 ended",
        "overlap: c: ticket 3 was granted 5000 ms before the lease of ticket 1 ended",
    ]


def test_a_lease_of_which_no_end_is_known_can_overlap_what_came_before() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10).queued("b", 2, 11)
    story.granted("b", 2, 12).released("a", 1, 13)
    assert story.faults() == [
        "overlap: c: ticket 2 was granted 1000 ms before the lease of ticket 1 ended",
        "lost: c: b never ended",
    ]


def test_a_renewal_makes_the_lease_longer() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").publishes("renew", "p1", number=1)
    story.granted("a", 1, 10).queued("b", 2, 11).renewed("a", 1, 20, correlation="m2")
    story.expired("a", 1, 50).granted("b", 2, 50).released("b", 2, 51)
    assert story.faults() == []


# --- losses -------------------------------------------------------------------------------------------------------------


def test_a_confirmed_request_of_which_nothing_is_heard_is_lost() -> None:
    assert two_turns().asks("p1", "d").faults() == ["lost: c: d was never heard of again"]


def test_one_that_was_never_confirmed_may_not_have_come() -> None:
    assert two_turns().asks("p1", "d", confirmed_at=None).faults() == []


def test_a_refusal_ends_a_request() -> None:
    assert two_turns().asks("p1", "d", wait=0).rejected("d", None, 11.5, "busy").faults() == []


def test_a_requester_that_is_gone_may_have_been_refused() -> None:
    assert two_turns().leaves("qp2").asks("p2", "d", wait=0).faults() == []
    assert two_turns().leaves("qp2").asks("p2", "d").faults() == ["lost: c: d was never heard of again"]


def test_a_ticket_without_an_end_is_lost() -> None:
    assert two_turns().asks("p1", "d").granted("d", 3, 15).faults() == ["lost: c: d never ended"]


def test_what_is_said_to_be_finished_must_have_ended() -> None:
    story = two_turns().asks("p1", "d").rejected("d", 3, 16, "finished", ended="released")
    assert story.faults() == ["lost: c: d never ended"]


def test_a_reply_without_its_public_copy_is_lost() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10).released("a", 1, 11, to=REPLY)
    assert story.faults() == ["lost: c: the public was never told: ticket 1 released"]
    story = Story().asks("p1", "a").granted("a", 1, 10, to=REPLY).released("a", 1, 11)
    assert story.faults() == ["lost: c: the public was never told: ticket 1 granted"]


def test_a_grant_of_which_only_the_end_is_heard_is_lost() -> None:
    assert Story().asks("p1", "a").released("a", 1, 11).faults() == ["lost: c: nobody was told: ticket 1 granted"]
    unreachable = Story().asks("p1", "a").cancelled("a", 1, 11, reason="unreachable")
    assert unreachable.faults() == ["lost: c: nobody was told: ticket 1 granted"]


def test_a_ticket_that_waited_must_have_been_queued() -> None:
    story = two_turns()
    story.heard = [heard for heard in story.heard if heard.kind != "queued"]
    assert story.faults() == ["lost: c: nobody was told: ticket 2 queued"]
    assert Story().asks("p1", "a").expired("a", 1, 99, to="both", phase="waiting").faults() == [
        "lost: c: nobody was told: ticket 1 queued"
    ]
    for story in (Story().asks("p1", "a"), Story().asks("p1", "a").publishes("release", "p1", number=1)):
        assert story.cancelled("a", 1, 9).faults() == ["lost: c: nobody was told: ticket 1 queued"]


def test_a_request_that_was_released_before_it_came_is_cancelled_at_once() -> None:
    story = two_turns().publishes("release", "p1", request_id="d").asks("p1", "d")
    story.rejected("d", None, 15, "unknown_ticket", correlation="m2").cancelled("d", 3, 16)
    assert story.faults() == []


def test_a_public_event_that_its_requester_never_heard_is_lost() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10, to=PUBLIC).released("a", 1, 11)
    assert story.faults() == ["lost: c: a was never told: ticket 1 granted"]


def test_a_requester_that_is_gone_is_told_nothing() -> None:
    story = Story().leaves("qp1").asks("p1", "a").granted("a", 1, 10).cancelled("a", 1, 10, reason="unreachable")
    assert story.faults() == []


def test_a_release_and_a_renewal_must_be_answered() -> None:
    forgotten = two_turns().asks("p1", "d").publishes("release", "p1", number=3)
    forgotten.granted("d", 3, 15).expired("d", 3, 45)
    assert forgotten.faults() == ["lost: c: a release was never answered"]
    assert two_turns().publishes("renew", "p1", number=2).faults() == ["lost: c: a renew was never answered"]


def test_only_what_the_broker_has_and_somebody_waits_for_must_be_answered() -> None:
    assert two_turns().publishes("renew", "p1", number=2, confirmed_at=None).faults() == []
    assert two_turns().leaves("qp2").publishes("renew", "p2", number=2).faults() == []


def test_refusals_and_ends_answer_them() -> None:
    late = two_turns().asks("p1", "d").publishes("release", "p1", number=3).granted("d", 3, 15).expired("d", 3, 45)
    assert late.rejected("d", 3, 46, "finished", ended="expired", correlation="m3").faults() == []
    assert two_turns().publishes("release", "p1", request_id="b").faults() == []
    renewing = two_turns().publishes("renew", "p1", number=2)
    assert renewing.renewed("b", 2, 13, correlation="m2").faults() == []


# --- doubles ------------------------------------------------------------------------------------------------------------


def test_two_tickets_for_one_request_are_found() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10).released("a", 1, 11).granted("a", 2, 12).released("a", 2, 13)
    assert story.faults() == ["doubled: c: a got tickets 1 and 2"]


def test_one_number_for_two_requests_is_found() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10).released("a", 1, 11)
    story.rejected("b", None, 12, "busy").released("b", 1, 11, id="1.released again")
    assert "doubled: c: ticket 1 was given to a and b" in story.faults()


def test_a_request_that_is_refused_and_given_a_ticket_is_found() -> None:
    assert two_turns().rejected("a", None, 13, "busy").faults() == ["doubled: c: a was refused, and got a ticket"]


def test_two_ends_are_found() -> None:
    story = two_turns().expired("b", 2, 50)
    assert story.faults() == ["doubled: c: ticket 2 ended twice, released and expired"]
    assert two_turns().rejected("b", 2, 50, "finished", ended="expired").faults() == [
        "doubled: c: ticket 2 released, and then it is said to be expired"
    ]


def test_a_grant_under_two_message_ids_is_found() -> None:
    assert two_turns().granted("b", 2, 12, id="other", to=REPLY).faults() == [
        "doubled: c: ticket 2 granted was told under 2 message ids"
    ]


def test_a_message_id_with_two_contents_is_found() -> None:
    assert two_turns().granted("b", 2, 12, holder="x", to=REPLY).faults() == [
        "doubled: c: message id 2.granted has two contents"
    ]
    assert two_turns().granted("a", 1, 10, behind=1, to=PUBLIC).faults()[0] == (
        "doubled: c: message id 1.granted has two contents for the public"
    )


def test_a_message_id_names_one_renewal() -> None:
    story = two_turns().renewed("b", 2, 13, expires_at=43, id="same", to=REPLY)
    assert story.renewed("b", 2, 13.5, expires_at=43, id="same", to=REPLY).faults() == []
    assert story.renewed("b", 2, 13.5, expires_at=44, id="same", to=REPLY).faults() == [
        "doubled: c: message id same has two contents"
    ]


def test_what_is_announced_again_is_lawful() -> None:
    story = two_turns()
    story.heard *= 2
    assert story.faults() == []
    assert story.verdict().again == 5 * 2


def test_an_answer_given_anew_tells_of_its_own_moment() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").asks("p1", "b").granted("a", 1, 10).queued("b", 2, 11)
    story.queued("b", 2, 11.5, to=REPLY, wait_until=11 + 60).released("a", 1, 12).granted("b", 2, 12)
    story.granted("b", 2, 13, to=REPLY, expires_at=42, waited=1.0).released("b", 2, 14)
    assert story.faults() == []
    assert story.rejected("b", 2, 15, "finished", ended="released").faults() == []


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_a_number_that_was_issued_before_a_lower_one_is_found() -> None:
    story = Story().asks("p1", "a").asks("p2", "b", confirmed_at=9)
    story.granted("b", 2, 10).released("b", 2, 11).granted("a", 1, 11).released("a", 1, 12)
    assert story.faults() == [
        "inversion: c: ticket 2 was granted 1000 ms before ticket 1",
        "not rising: c: ticket 2 was issued 1000 ms before ticket 1",
    ]


# --- contradictions -----------------------------------------------------------------------------------------------------


def contradictions(story: Story) -> list[str]:
    return [fault.text for fault in story.verdict().faults if fault.kind is FaultKind.CONTRADICTION]


def test_what_is_told_of_a_ticket_after_its_end_is_found() -> None:
    assert contradictions(two_turns().granted("b", 2, 15, to=REPLY, expires_at=42, waited=1.0)) == [
        "ticket 2 granted after it released"
    ]
    assert contradictions(two_turns().renewed("b", 2, 15)) == ["ticket 2 renewed after it released"]


def test_what_is_told_of_it_before_its_time_is_found() -> None:
    assert contradictions(two_turns().renewed("b", 2, 11.5)) == ["ticket 2 renewed before its grant"]
    assert contradictions(two_turns().queued("b", 2, 13, to=REPLY))[0] == "ticket 2 queued after its grant"
    story = Story().asks("p1", "a").queued("a", 1, 12).granted("a", 1, 10).released("a", 1, 14)
    assert "ticket 1 was granted before it was queued" in contradictions(story)


def test_spans_that_do_not_fit_the_times_are_found() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10).released("a", 1, 12, held=1)
    assert contradictions(story) == ["ticket 1 was held 2000 ms by its times"]
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10).queued("b", 2, 11).released("a", 1, 12)
    story.granted("b", 2, 12, waited=5).released("b", 2, 13)
    assert contradictions(story) == ["ticket 2 waited 1000 ms by its times"]


def test_a_lease_or_a_wait_of_another_length_than_asked_for_is_found() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10, expires_at=50).released("a", 1, 12)
    assert contradictions(story) == ["ticket 1 has a lease of 40000 ms"]
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10).queued("b", 2, 11, wait_until=13)
    story.released("a", 1, 12).granted("b", 2, 12).released("b", 2, 13)
    assert contradictions(story) == ["ticket 2 may wait 2000 ms"]


def test_a_granted_ticket_cannot_end_as_one_that_waits() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10).expired("a", 1, 70, phase="waiting")
    assert contradictions(story) == ["ticket 1 was granted, and expired as one that waits"]
    story = Story().asks("p1", "a").granted("a", 1, 10).cancelled("a", 1, 12)
    assert contradictions(story) == ["ticket 1 was granted, and cancelled as one that waits"]


def test_a_deadline_that_comes_too_early_is_found() -> None:
    story = Story().asks("p1", "a").granted("a", 1, 10).expired("a", 1, 39.999)
    assert contradictions(story) == ["ticket 1 expired 1 ms before its time"]
    story = two_turns().asks("p1", "d").asks("p1", "e").granted("d", 3, 15).queued("e", 4, 16).expired("e", 4, 20)
    assert contradictions(story.released("d", 3, 21)) == ["ticket 4 expired 56000 ms before its time"]
    story = Story().asks("p1", "a").publishes("renew", "p1", number=1).granted("a", 1, 10)
    story.renewed("a", 1, 20, correlation="m1").expired("a", 1, 41)
    assert contradictions(story) == ["ticket 1 expired 9000 ms before its time"]


def test_a_renewal_for_a_shorter_time_is_lawful() -> None:
    story = Story().asks("p1", "a").publishes("renew", "p1", number=1, lifetime=2.0).granted("a", 1, 10)
    assert story.renewed("a", 1, 12, expires_at=14, correlation="m1").expired("a", 1, 14).faults() == []


def test_a_ticket_that_nobody_asked_for_is_found() -> None:
    story = two_turns().granted("?", 3, 15, to=PUBLIC).released("?", 3, 16, to=PUBLIC)
    assert contradictions(story) == ["ticket 3 is for ?, which nobody published"]


def test_places_that_cannot_be_are_found() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").granted("a", 1, 10, behind=1).queued("b", 2, 11, position=2)
    story.released("a", 1, 12).granted("b", 2, 12).released("b", 2, 13)
    assert contradictions(story) == [
        "ticket 1 was told of 1 behind it, and there were 0",
        "ticket 2 was told of 2 before it, and there were 1",
    ]
    story.direct_use = True
    assert contradictions(story) == []


def test_nothing_is_said_of_places_in_a_line_of_which_not_all_is_known() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").asks("p1", "d").granted("a", 1, 10)
    story.queued("b", 2, 11).queued("d", 3, 12, position=2).granted("b", 2, 40, behind=1).released("b", 2, 41)
    assert story.granted("d", 3, 41).released("d", 3, 42).faults() == ["lost: c: a never ended"]


def test_who_comes_or_goes_in_the_same_millisecond_may_count_or_not() -> None:
    for position, behind in ((1, 0), (2, 1)):
        story = Story().asks("p1", "a").asks("p1", "b").asks("p1", "c").granted("a", 1, 10)
        story.queued("b", 2, 11).released("a", 1, 12).granted("b", 2, 12, behind=behind)
        story.queued("c", 3, 12, position=position).released("b", 2, 13).granted("c", 3, 13).released("c", 3, 14)
        assert story.faults() == []


def test_everything_may_happen_in_one_millisecond() -> None:
    story = Story().asks("p1", "a").asks("p1", "b").publishes("renew", "p1", number=2)
    story.granted("a", 1, 10).queued("b", 2, 10).released("a", 1, 10).granted("b", 2, 10)
    story.renewed("b", 2, 10, correlation="m2").released("b", 2, 10).rejected("b", 2, 10, "finished", ended="released")
    assert story.rejected("b", 2, 10, "unknown_ticket").faults() == []


def test_a_rejection_that_comes_too_early_or_denies_a_ticket_is_found() -> None:
    early = two_turns().rejected("b", 2, 13, "finished", ended="released")
    assert contradictions(early) == ["ticket 2 was said to be over before it released"]
    denied = two_turns().rejected("b", 2, 13, "unknown_ticket")
    assert contradictions(denied) == ["ticket 2 was said never to have been issued"]


def test_the_order_of_arrival_proves_nothing() -> None:
    story = two_turns()
    story.heard.reverse()
    assert judge(story.history()).is_well
