"""Payment references and their check character."""

import re

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from payments.matching.references import (
    ALPHABET,
    LENGTH,
    generate,
    is_reference,
    repair,
    resembles_reference,
    with_check_character,
)

bodies = st.text(ALPHABET, min_size=LENGTH - 2, max_size=LENGTH - 2)


def test_generated_reference_is_short_and_valid():
    reference = generate()

    assert len(reference) <= 12
    assert is_reference(reference)


@given(bodies, st.integers(0, LENGTH - 1), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_detected(body, place, wrong):
    reference = with_check_character("K" + body)
    typed = reference[:place] + wrong + reference[place + 1 :]

    assert is_reference(typed) == (typed == reference)


@given(bodies, st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1))
def test_two_swapped_characters_are_always_detected(body, one, other):
    reference = with_check_character("K" + body)
    typed = list(reference)
    typed[one], typed[other] = typed[other], typed[one]

    assert is_reference("".join(typed)) == ("".join(typed) == reference)


@given(st.randoms(use_true_random=False), st.integers(0, LENGTH - 1), st.sampled_from(ALPHABET))
def test_generated_reference_with_one_wrong_character_resembles_one(random, place, wrong):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("payments.matching.references.secrets.choice", random.choice)
        reference = generate()

    assert resembles_reference(reference[:place] + wrong + reference[place + 1 :])


@given(st.randoms(use_true_random=False), st.integers(0, LENGTH - 2))
def test_generated_reference_with_two_swapped_neighbours_resembles_one(random, place):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("payments.matching.references.secrets.choice", random.choice)
        reference = generate()
    swapped = reference[:place] + reference[place + 1] + reference[place] + reference[place + 2 :]

    assert resembles_reference(swapped)


@pytest.mark.parametrize(
    "typed", ["Kamau254", "KMCA 123A", "KCA 123A", "KARANJA1", "Kipchoge", "Kimani25", "12345678", ""]
)
def test_names_and_number_plates_do_not_resemble_references(typed):
    assert not resembles_reference(typed)


def test_reference_in_the_documents_is_a_right_one():
    for path in ("docs/glossary.md", "payments/matching/references.py"):
        text = (settings.BASE_DIR / path).read_text()
        assert [is_reference(each) for each in re.findall(r"such as `(K[0-9A-Z]{7})`", text)] == [True], path


@pytest.mark.parametrize("typed", ["k012v2a", "KO12V2A", "K0I2V2A", "KOL2VZA", " k01 2u2-a "])
def test_look_alikes_spaces_and_case_are_corrected(typed):
    reference = with_check_character("K012V2A")

    assert repair(typed + reference[-1].lower()) == reference


@pytest.mark.parametrize("typed", ["", "K", "1234567", "254712345678", "KKKKKKKK1", "Kéééééé1", "²²²²²²²²"])
def test_text_without_valid_check_character_is_not_a_reference(typed):
    assert repair(typed) is None
