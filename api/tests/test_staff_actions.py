"""Staff actions: forms of the admin that make one call of a service."""

from types import SimpleNamespace

import pytest
from django import forms
from django.core.exceptions import PermissionDenied

from api import idempotency
from api.admin.staff_actions import KEY_REUSED, KeyedAction, StaffAction, action_named, by_name
from api.clock import now
from api.errors import Conflict


class Count(StaffAction):
    name, title = "count", "Count"
    number = forms.IntegerField()

    def perform(self):
        if self.subject is not None:
            raise self.subject
        return f"{self.cleaned_data['number']} counted."


class CountOnce(KeyedAction):
    name = "count_once"
    number = forms.IntegerField()

    def perform(self):
        return ""


def sent(form, url="/admin/count/", subject=None, **typed):
    return form(typed, request=SimpleNamespace(user=None), now=now(), url=url, subject=subject)


def test_a_valid_form_calls_its_service_and_says_what_was_done():
    form = sent(Count, number="3")

    assert (form.run(), form.outcome, form.error_text) == (True, "3 counted.", "")


def test_values_that_are_not_valid_call_no_service():
    form = sent(Count, number="three", subject=AssertionError("called"))

    assert (form.run(), form.outcome, form.error_text) == (False, "", "Enter a whole number.")


@pytest.mark.parametrize(
    ("refusal", "said"), [(Conflict("Taken."), "Taken."), (idempotency.IdempotencyKeyReused(), KEY_REUSED)]
)
def test_a_refusal_becomes_an_error_of_the_form(refusal, said):
    form = sent(Count, number="3", subject=refusal)

    assert (form.run(), form.outcome, form.errors) == (False, "", {"__all__": [said]})


def test_a_bug_is_no_error_of_the_form():
    with pytest.raises(ZeroDivisionError):
        sent(Count, number="3", subject=ZeroDivisionError()).run()


def test_each_page_draws_another_key():
    first, second = (CountOnce(request=SimpleNamespace(user=None), now=now())["key"].value() for _ in range(2))

    assert first != second


def test_the_fingerprint_tells_typed_values_and_urls_apart():
    def fingerprint(**sending):
        form = sent(CountOnce, **({"key": "k", "number": "3"} | sending))
        assert form.run()
        return form.idempotency_key.fingerprint

    assert fingerprint() == fingerprint(csrfmiddlewaretoken="another")
    assert len({fingerprint(), fingerprint(number="4"), fingerprint(url="/admin/other/")}) == 3


def test_an_action_that_a_page_does_not_have_is_refused():
    actions = by_name(Count, CountOnce)

    assert (list(actions), action_named("count", actions)) == (["count", "count_once"], Count)
    with pytest.raises(PermissionDenied):
        action_named("view", actions)
