"""Member numbers and their check digit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import CustomUser
from accounts.tests.factories import UserFactory
from api.member_numbers import is_member_number, with_check_digit

numbers = st.from_regex(r"\A[0-9]{6}\Z").map(with_check_digit)


def test_check_digit_of_the_published_example():
    assert with_check_digit("572") == "5724"  # the worked example in Wikipedia's article on the Damm algorithm


@given(numbers)
def test_number_with_its_check_digit_is_valid(number):
    assert is_member_number(number)


@given(numbers, st.integers(0, 6), st.integers(1, 9))
def test_every_wrong_digit_is_detected(number, place, off_by):
    wrong = str((int(number[place]) + off_by) % 10)

    assert not is_member_number(number[:place] + wrong + number[place + 1 :])


@given(numbers, st.integers(0, 5))
def test_every_swap_of_neighbouring_digits_is_detected(number, place):
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]

    assert is_member_number(swapped) == (swapped == number)


@given(st.text(max_size=9))
def test_any_text_gets_an_answer(text):
    assert is_member_number(text) in (True, False)


@pytest.mark.parametrize("text", ["", "572", "57240000", "572400O", "٥٧٢٤٠٠٠"])
def test_text_without_seven_digits_is_invalid(text):
    assert not is_member_number(text)


@pytest.mark.django_db
def test_new_users_get_consecutive_numbers():
    first, second = UserFactory(), UserFactory()

    assert int(second.member_number[:6]) == int(first.member_number[:6]) + 1
    assert all(is_member_number(number) for number in CustomUser.objects.values_list("member_number", flat=True))
