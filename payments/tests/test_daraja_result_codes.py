"""Result codes: which are final, and the message for the member."""

from datetime import timedelta

import pytest

from payments.daraja import result_codes
from payments.daraja.result_codes import MEANINGS, OUR_CODES, Verdict, advice, verdict

FINAL = {
    Verdict.SUCCEEDED: ["0"],
    Verdict.CANCELLED: ["1031", "1032"],
    Verdict.TIMED_OUT: ["1019", "1036", "1037"],
    Verdict.FAILED: [
        "1",
        "2",
        "3",
        "4",
        "8",
        "11",
        "12",
        "13",
        "14",
        "17",
        "21",
        "26",
        "1001",
        "1025",
        "1101",
        "1102",
        "2001",
        "2006",
        "2008",
        "2028",
        "2040",
        "8006",
        "9999",
        "SFC_IC0003",
    ],
}


@pytest.mark.parametrize(("expected", "code"), [(each, code) for each, codes in FINAL.items() for code in codes])
def test_listed_code_ends_the_push(expected, code):
    assert verdict(code) == expected


@pytest.mark.parametrize(
    "code", ["15", "2026", "4999", "100000100", "", "00", "35", "no such code", "500.001.1001", *OUR_CODES]
)
def test_other_codes_keep_the_push_open(code):
    assert verdict(code) == Verdict.OPEN


@pytest.mark.parametrize("code", ["", "no such code", *MEANINGS, *OUR_CODES])
def test_every_code_has_a_short_message_in_both_languages(code):
    english, swahili = advice(code), advice(code, "sw")

    assert english != swahili
    for sentence in (english, swahili):
        assert 10 < len(sentence) < 140
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_unknown_language_gets_english():
    assert (
        advice("1032", "fr")
        == advice("1032")
        == "The request was cancelled on the phone. Try again when you are ready."
    )


def test_regional_swahili_gets_swahili():
    assert advice("1032", "sw-KE") == "Ombi lilighairiwa kwenye simu. Jaribu tena ukiwa tayari."


def test_message_of_closed_push_does_not_say_to_wait():
    assert advice("no such code") not in (advice("closed"), advice("withdrawn"))


@pytest.mark.parametrize("code", ["17", "26", "1001", "busy", "locked"])
def test_some_codes_require_a_pause_before_the_next_push(code):
    assert timedelta(minutes=1) <= result_codes.pause_after(code) < timedelta(minutes=3)


def test_cancelled_push_requires_no_pause():
    assert result_codes.pause_after("1032") == timedelta(0)
