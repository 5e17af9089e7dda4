"""A statement written once answers as the ORM would, for every value."""

import pytest
from django.db.models import F

from accounts.models import CustomUser, LoginSession
from accounts.tests.factories import UserFactory
from api.statements import WrittenOnce

pytestmark = pytest.mark.django_db


def added_by(person_id):
    people = CustomUser.objects.filter(added_by=person_id).select_related("added_by").order_by("pk")
    return people.annotate(boss=F("added_by__username"))


def test_each_value_gets_its_own_rows_with_relations_and_annotations(django_assert_num_queries):
    boss, other = UserFactory(), UserFactory()
    one, two = UserFactory(added_by=boss), UserFactory(added_by=boss)
    statement = WrittenOnce(added_by, stand_in=0)

    with django_assert_num_queries(2):
        of_other, of_boss = statement(other.pk), statement(boss.pk)
        found = [(each, each.added_by, each.boss, each.email) for each in of_boss]

    assert of_other == []
    assert found == [(each, boss, boss.username, each.email) for each in (one, two)]


def test_what_was_left_out_is_read_when_it_is_asked_for(django_assert_num_queries):
    person = UserFactory()
    [found] = WrittenOnce(lambda pk: CustomUser.objects.filter(pk=pk).only("username"), stand_in=0)(person.pk)

    with django_assert_num_queries(1):
        assert found.email == person.email


def test_a_column_that_only_the_orm_can_convert_is_refused():
    statement = WrittenOnce(lambda pk: LoginSession.objects.filter(user=pk), stand_in=0)  # its amr is JSON

    with pytest.raises(TypeError, match="needs converting"):
        statement(1)
