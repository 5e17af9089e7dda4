"""One form for every way a Kenyan writes a phone number."""

import pytest

from api.phones import InvalidPhoneNumber, masked, normalise


@pytest.mark.parametrize(
    "typed",
    ["0712345678", "0712 345 678", "+254712345678", "254712345678", "712345678", "00254712345678", "(0712) 345-678"],
)
def test_every_usual_form_means_the_same_number(typed):
    assert normalise(typed) == "254712345678"


def test_the_newer_01_numbers_are_mobile_too():
    assert normalise("0112345678") == "254112345678"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "07123456789",
        "071234567",
        "+255712345678",
        "0201234567",
        "phone",
        "٠٧١٢٣٤٥٦٧٨",
        "0712345678x9",
        "7" * 63,
        None,
        712345678,
    ],
)
def test_anything_else_is_refused_and_never_cut_short(typed):
    with pytest.raises(InvalidPhoneNumber):
        normalise(typed)


def test_a_masked_number_shows_its_ends_only():
    assert masked("254712345678") == "2547****678"
