"""Compiled querysets return the same rows as the ORM, for every value."""

from types import SimpleNamespace

import pytest
from django.db.models import F, Value
from django.utils import timezone

from accounts.models import CustomUser, LoginSession
from accounts.tests.factories import UserFactory
from api.statements import WrittenOnce

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def added_by(person_id):
    people = CustomUser.objects.filter(added_by=person_id).select_related("added_by").order_by("pk")
    return people.annotate(boss=F("added_by__username"))


def test_each_value_returns_its_rows_with_relations_and_annotations(django_assert_num_queries):
    boss, other = UserFactory(), UserFactory()
    one, two = UserFactory(added_by=boss), UserFactory(added_by=boss)
    statement = WrittenOnce(added_by, stand_ins=[0])

    with django_assert_num_queries(2):
        of_other, of_boss = statement(other.pk), statement(boss.pk)
        found = [(each, each.added_by, each.boss, each.email) for each in of_boss]

    assert of_other == []
    assert found == [(each, boss, boss.username, each.email) for each in (one, two)]


def test_deferred_column_is_read_on_access(django_assert_num_queries):
    person = UserFactory()
    [found] = WrittenOnce(lambda pk: CustomUser.objects.filter(pk=pk).only("username"), stand_ins=[0])(person.pk)

    with django_assert_num_queries(1):
        assert found.email == person.email


def test_values_are_converted_as_by_the_orm():
    person, at = UserFactory(), timezone.now()
    LoginSession.objects.create(
        user=person, created_at=at, idle_expires_at=at, absolute_expires_at=at, auth_time=at, amr=["pwd", "otp"]
    )

    [found] = WrittenOnce(lambda user_id: LoginSession.objects.filter(user=user_id), stand_ins=[0])(person.pk)

    assert found.amr == ["pwd", "otp"]


def test_several_values_take_their_own_places():
    boss = UserFactory()
    one, two = (UserFactory(added_by=boss, role=role) for role in ("Trainer", "Manager"))
    statement = WrittenOnce(
        lambda person_id, role: CustomUser.objects.filter(role=role, added_by=person_id), stand_ins=[0, "-"]
    )

    assert [statement(boss.pk, role) for role in ("Trainer", "Manager", "Admin")] == [[one], [two], []]


def attributes_of(instance):
    """Return all attributes of an instance, and of the related rows that were read with it."""
    state = instance._state
    related = {name: attributes_of(other) for name, other in state.fields_cache.items()}
    return {**vars(instance), "_state": (state.db, state.adding, related)}


def test_instance_has_all_attributes_of_the_orms():
    boss = UserFactory()
    UserFactory(added_by=boss)

    [found], [plain] = WrittenOnce(added_by, stand_ins=[0])(boss.pk), added_by(boss.pk)

    assert attributes_of(found) == attributes_of(plain)
    assert found.added_by.email == boss.email


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda pk: CustomUser.objects.filter(pk=pk + 1), "computed from the value"),
        (lambda pk: CustomUser.objects.filter(pk=pk) if pk else CustomUser.objects.all(), "other SQL"),
        (lambda pk: CustomUser.objects.filter(pk=pk).annotate(zero=Value(0)), "a parameter like the stand-in"),
    ],
)
def test_queryset_that_depends_more_on_its_value_runs_plain(build, why):
    people = [UserFactory() for _ in range(3)]
    statement = WrittenOnce(build, stand_ins=[0])

    with pytest.warns(RuntimeWarning, match="depends on the values"):
        first = statement(people[0].pk)

    assert [first, statement(people[1].pk)] == [list(build(person.pk)) for person in people[:2]]


def raise_error(*args, **kwargs):
    raise RuntimeError


@pytest.mark.parametrize(
    "private",
    [
        {"get_related_populators": lambda klass_info: []},
        {"get_related_populators": raise_error},
        {"get_related_populators": lambda *args: [object()]},  # which cannot populate a row
        {},
    ],
    ids=["another signature", "raises", "other populators", "gone"],
)
def test_changed_private_parts_of_django_run_the_plain_queryset(private, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr("api.statements.query", SimpleNamespace(**private))
    boss, other = UserFactory(), UserFactory()
    one, two = UserFactory(added_by=boss), UserFactory(added_by=boss)
    statement = WrittenOnce(added_by, stand_ins=[0])

    with pytest.warns(RuntimeWarning, match="added_by is compiled on every call"):
        first = statement(boss.pk)

    assert [(each, each.boss) for each in first] == [(one, boss.username), (two, boss.username)]
    with django_assert_num_queries(2):
        assert [statement(other.pk), statement(boss.pk)] == [[], first]
