"""A statement written once answers as the ORM would, for every value."""

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.models import CustomUser, LoginSession
from accounts.tests.factories import UserFactory
from api.statements import WrittenOnce

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def added_by(person_id):
    people = CustomUser.objects.filter(added_by=person_id).select_related("added_by").order_by("pk")
    return people.annotate(boss=F("added_by__username"))


def test_each_value_gets_its_own_rows_with_relations_and_annotations(django_assert_num_queries):
    boss, other = UserFactory(), UserFactory()
    one, two = UserFactory(added_by=boss), UserFactory(added_by=boss)
    statement = WrittenOnce(added_by, stand_ins=[0])

    with django_assert_num_queries(2):
        of_other, of_boss = statement(other.pk), statement(boss.pk)
        found = [(each, each.added_by, each.boss, each.email) for each in of_boss]

    assert of_other == []
    assert found == [(each, boss, boss.username, each.email) for each in (one, two)]


def test_what_was_left_out_is_read_when_it_is_asked_for(django_assert_num_queries):
    person = UserFactory()
    [found] = WrittenOnce(lambda pk: CustomUser.objects.filter(pk=pk).only("username"), stand_ins=[0])(person.pk)

    with django_assert_num_queries(1):
        assert found.email == person.email


def test_what_the_orm_converts_is_converted():
    person, at = UserFactory(), timezone.now()
    LoginSession.objects.create(
        user=person, created_at=at, idle_expires_at=at, absolute_expires_at=at, auth_time=at, amr=["pwd", "otp"]
    )

    [found] = WrittenOnce(lambda user_id: LoginSession.objects.filter(user=user_id), stand_ins=[0])(person.pk)

    assert found.amr == ["pwd", "otp"]


def test_each_of_several_values_takes_its_own_place():
    boss = UserFactory()
    one, two = (UserFactory(added_by=boss, role=role) for role in ("Trainer", "Manager"))
    statement = WrittenOnce(
        lambda person_id, role: CustomUser.objects.filter(role=role, added_by=person_id), stand_ins=[0, "-"]
    )

    assert [statement(boss.pk, role) for role in ("Trainer", "Manager", "Admin")] == [[one], [two], []]


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda pk: CustomUser.objects.filter(pk=pk + 1), "computed from the value"),
        (lambda pk: CustomUser.objects.filter(pk=pk) if pk else CustomUser.objects.all(), "written otherwise"),
        (lambda pk: CustomUser.objects.filter(pk=pk, login_sessions__generation=0), "a parameter like the stand-in"),
    ],
)
def test_a_statement_that_would_not_follow_its_value_is_refused(build, why):
    with pytest.raises(TypeError, match="hangs on the values"):
        WrittenOnce(build, stand_ins=[0])(5)
