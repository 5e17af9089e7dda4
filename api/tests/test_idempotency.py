"""Idempotency keys: results are stored with the work, and a repeat of the same caller and body finds them."""

import threading

import pytest
from django.db import IntegrityError, transaction

from accounts.tests.factories import UserFactory
from api import idempotency
from api.clock import now
from api.idempotency import IdempotencyKey, IdempotencyKeyReused
from api.models import Counter, IdempotencyRecord
from payments.tests.threads import run_together

pytestmark = [pytest.mark.django_db, pytest.mark.server]

KEY, OTHER_BODY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b")


def store(caller, *rows, key=KEY):
    idempotency.store_results(key, rows or [caller], caller_id=caller.pk, now=now())


def find(caller, key=KEY):
    return idempotency.find_results(key, caller_id=caller.pk)


def test_repeat_finds_the_results_in_their_order():
    caller, *rows = UserFactory.create_batch(3)
    store(caller, *reversed(rows))

    assert find(caller) == [rows[1].pk, rows[0].pk]


def test_new_key_and_no_key_have_no_results():
    caller = UserFactory()
    store(caller)
    store(caller, key=None)

    assert (find(caller, IdempotencyKey("other", "a")), find(caller, None)) == ([], [])
    assert IdempotencyRecord.objects.count() == 1


def test_key_belongs_to_its_caller():
    asha, ben = UserFactory.create_batch(2)
    store(asha)
    store(ben)

    assert (find(asha), find(ben)) == ([asha.pk], [ben.pk])


def test_key_with_another_body_is_refused():
    caller = UserFactory()
    store(caller)

    with pytest.raises(IdempotencyKeyReused):
        find(caller, OTHER_BODY)


def test_results_are_rolled_back_with_the_work():
    caller = UserFactory()

    @transaction.atomic
    def work_and_crash():
        store(caller)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work_and_crash()

    assert find(caller) == []


@pytest.mark.parametrize("key", [KEY, OTHER_BODY])
def test_second_record_of_a_key_is_refused(key):
    caller = UserFactory()
    store(caller)

    with pytest.raises(IntegrityError, match='"idempotency_key_once_per_caller"'), transaction.atomic():
        store(caller, key=key)


@pytest.mark.django_db(transaction=True)
def test_constraint_undoes_the_second_work_without_a_lock():
    caller, both_looked = UserFactory(), threading.Barrier(2)

    @transaction.atomic
    def work(name):
        assert find(caller) == []
        both_looked.wait(timeout=10)
        Counter.objects.create(key=name, count=1, resets_at=now())
        store(caller)

    errors = run_together(lambda: work("one"), lambda: work("two"))

    assert sorted(type(each).__name__ for each in errors) == ["IntegrityError", "NoneType"]
    assert Counter.objects.filter(key__in=["one", "two"]).count() == 1
    assert IdempotencyRecord.objects.count() == 1


def test_a_key_costs_two_statements(django_assert_num_queries):
    caller = UserFactory()

    with django_assert_num_queries(2):  # one looks it up, one stores it
        find(caller)
        store(caller)
