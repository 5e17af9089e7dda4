"""Phone numbers: normalising and masking."""

import pytest

from api.phones import InvalidPhoneNumber, masked, normalise


@pytest.mark.parametrize(
    "typed",
    ["0712345678", "0712 345 678", "+254712345678", "254712345678", "712345678", "00254712345678", "(0712) 345-678"],
)
def test_usual_forms_have_the_same_normal_form(typed):
    assert normalise(typed) == "254712345678"


def test_numbers_with_01_are_mobile_numbers():
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
def test_other_text_is_refused(typed):
    with pytest.raises(InvalidPhoneNumber):
        normalise(typed)


def test_masked_number_shows_only_its_ends():
    assert masked("254712345678") == "2547****678"
