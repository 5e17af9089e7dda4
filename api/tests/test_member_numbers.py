"""A mistyped member number is noticed, never taken for another member's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import CustomUser
from accounts.tests.factories import UserFactory
from api.member_numbers import is_member_number, with_check_digit

numbers = st.from_regex(r"\A[0-9]{6}\Z").map(with_check_digit)


def test_the_check_digit_is_the_one_of_the_published_example():
    assert with_check_digit("572") == "5724"  # Damm, as in Wikipedia's worked example


@given(numbers)
def test_a_number_as_it_was_given_is_right(number):
    assert is_member_number(number)


@given(numbers, st.integers(0, 6), st.integers(1, 9))
def test_every_single_wrong_digit_is_noticed(number, place, off_by):
    wrong = str((int(number[place]) + off_by) % 10)

    assert not is_member_number(number[:place] + wrong + number[place + 1 :])


@given(numbers, st.integers(0, 5))
def test_every_swap_of_neighbours_is_noticed(number, place):
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]

    assert is_member_number(swapped) == (swapped == number)


@given(st.text(max_size=9))
def test_whatever_is_typed_is_answered(text):
    assert is_member_number(text) in (True, False)


@pytest.mark.parametrize("text", ["", "572", "57240000", "572400O", "٥٧٢٤٠٠٠"])
def test_what_is_no_number_of_seven_digits_is_refused(text):
    assert not is_member_number(text)


@pytest.mark.django_db
def test_people_are_given_numbers_one_after_the_other():
    first, second = UserFactory(), UserFactory()

    assert int(second.member_number[:6]) == int(first.member_number[:6]) + 1
    assert all(is_member_number(number) for number in CustomUser.objects.values_list("member_number", flat=True))
