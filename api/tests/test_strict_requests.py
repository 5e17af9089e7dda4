"""Requests are used whole or refused: no parameter, field or JSON type is ignored or converted silently."""

import pytest
from rest_framework import serializers

from accounts.models import CustomUser
from accounts.tests.factories import UserFactory
from api.generics import StrictView
from api.serializers import Serializer, type_error
from api.tests.clients import browser, logged_in_as
from api.tests.test_every_url import VIEWS, example_url, methods
from payments.models import Payment
from subscriptions.models import Plan
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory

USERS = "/api/v1/users/"
ME = "/api/v1/auth/me/"
ARABIC_DAY = "\u0662\u0660\u0662\u0666-\u0660\u0661-\u0660\u0661"  # 2026-01-01
UNKNOWN, READ_ONLY = "unknown_field", "read_only"
READ = [path for path, cls, callback in VIEWS if methods(cls, callback, ["get"])]


def refused_fields(answer):
    """Return the status of an answer and its details as pairs of field and code."""
    return answer.status_code, [(row["field"], row["code"]) for row in answer.json()["error"]["details"]]


# --- Query parameters -------------------------------------------------------------------------------------------------


def test_every_view_is_strict():
    assert {path for path, cls, _ in VIEWS if not issubclass(cls, StrictView)} == set()


@pytest.mark.django_db
@pytest.mark.parametrize("path", READ)
def test_read_refuses_an_unknown_query_parameter(path):
    client = logged_in_as(UserFactory(role="Admin"))

    answer = client.get(example_url(path), {"surprise": "7"})

    assert refused_fields(answer) == (400, [("surprise", "unknown_parameter")])
    assert answer.json()["error"]["code"] == "unknown_parameter"


@pytest.mark.django_db
def test_parameter_of_another_page_is_refused():
    manager = UserFactory(role="Manager")
    client = logged_in_as(manager)

    for path, name in (
        ("payments/credit/?member=7", "member"),  # one's own credit is no answer to it
        ("payments/?page=3", "page"),
        ("users/?cursor=abc", "cursor"),
        (f"users/{manager.pk}/?role=Member", "role"),
        (f"users/{manager.pk}/?search=x", "search"),
    ):
        assert refused_fields(client.get(f"/api/v1/{path}")) == (400, [(name, "unknown_parameter")])


@pytest.mark.django_db
def test_write_refuses_query_parameters():
    client = logged_in_as(UserFactory(role="Manager"))

    answer = client.post("/api/v1/plan-groups/?opens_gate=false", {"name": "Locker"})

    assert refused_fields(answer) == (400, [("opens_gate", "unknown_parameter")])


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["\u0663", "1_0", "\uff11", "+1", " 1", "1.0", "9" * 30])
def test_page_number_has_ascii_digits_only(page):
    assert logged_in_as(UserFactory(role="Manager")).get(USERS, {"page": page}).status_code == 404


# --- Fields -----------------------------------------------------------------------------------------------------------


def test_every_serializer_is_strict():
    found, classes = [], [serializers.Serializer]
    while classes:
        found += (children := classes.pop().__subclasses__())
        classes += children
    ours = [cls for cls in found if cls.__module__.split(".")[0] in ("accounts", "api", "payments", "subscriptions")]

    assert len(ours) > 40
    assert {cls.__name__ for cls in ours if not issubclass(cls, Serializer)} == set()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "auth/refresh/"),
        ("post", "auth/logout/"),
        ("delete", "auth/sessions/00000000-0000-4000-8000-000000000000/"),
        ("post", "auth/mfa/recovery-codes/"),
        ("delete", "auth/mfa/totp/"),
        ("post", "users/1/revoke-sessions/"),
        ("post", "payments/X/cancel/"),
        ("post", "review-items/1/undo/"),
        ("post", "review-items/1/same-money/"),
        ("post", "subscriptions/1/unfreeze/"),
        ("post", "subscriptions/1/cancel/"),
        ("delete", "closures/1/"),
    ],
)
@pytest.mark.parametrize(
    ("body", "details"),
    [({"surprise": 7}, [("surprise", UNKNOWN)]), ([], [(None, "invalid")]), ("7", [(None, "invalid")])],
)
def test_call_without_a_body_refuses_one(method, path, body, details):
    client = logged_in_as(UserFactory(role="Admin"))

    assert refused_fields(getattr(client, method)(f"/api/v1/{path}", body)) == (400, details)


@pytest.mark.django_db
@pytest.mark.parametrize("body", [{}, {"data": {}}])
def test_call_without_a_body_accepts_an_empty_one(body):
    client = logged_in_as(UserFactory())

    assert client.delete(f"{ME}picture/", **body).status_code == 204
    assert client.post("/api/v1/auth/refresh/", **body).status_code == 200


@pytest.mark.django_db
def test_unknown_field_is_named_beside_other_errors():
    client = browser()

    answer = client.post("/api/v1/auth/login/", {"identifier": "asha", "pasword": "x", "remember": True})

    assert refused_fields(answer) == (400, [("password", "required"), ("pasword", UNKNOWN)])


@pytest.mark.django_db
def test_staff_cannot_believe_that_they_deactivated_a_person():
    person = UserFactory()
    client = logged_in_as(UserFactory(role="Manager"))

    answer = client.patch(f"{USERS}{person.pk}/", {"is_active": False, "first_name": "Wanjiru"})

    assert refused_fields(answer) == (400, [("is_active", UNKNOWN)])
    assert CustomUser.objects.get(pk=person.pk).first_name == "Asha"


@pytest.mark.django_db
def test_read_only_fields_sent_back_unchanged_are_accepted():
    manager = UserFactory(role="Manager")
    person = UserFactory(added_by=manager, role="Trainer")
    client = logged_in_as(manager)

    shown = client.get(f"{USERS}{person.pk}/").json()["data"]
    assert client.patch(f"{USERS}{person.pk}/", {**shown, "first_name": "Wanjiru"}).json()["data"] == {
        **shown,
        "first_name": "Wanjiru",
    }

    mine = client.get(ME).json()["data"]
    assert client.patch(ME, {**mine, "dob": "1990-01-01"}).json()["data"] == {**mine, "dob": "1990-01-01"}

    plan = PlanFactory()
    answer = client.patch(f"/api/v1/plans/{plan.pk}/", {"id": plan.pk, "price": 900})
    assert (answer.status_code, Plan.objects.get().price) == (200, 900)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 1),
        ("role", "Admin"),
        ("email", "other@example.com"),
        ("phone_number", None),
        ("member_number", "0000000"),
        ("has_second_factor", True),
        ("added_by", {"id": 1}),
        ("profile_picture", "x.jpg"),
    ],
)
def test_changed_read_only_field_of_the_profile_is_refused(name, value):
    answer = logged_in_as(UserFactory()).patch(ME, {name: value, "dob": "1990-01-01"})

    assert refused_fields(answer) == (400, [(name, READ_ONLY)])
    assert CustomUser.objects.get().dob is None


@pytest.mark.django_db
def test_new_object_takes_no_read_only_field():
    answer = logged_in_as(UserFactory(role="Manager")).post("/api/v1/plan-groups/", {"id": 77, "name": "Gym"})

    assert refused_fields(answer) == (400, [("id", READ_ONLY)])


# --- JSON types -------------------------------------------------------------------------------------------------------


class Everything(Serializer):
    """One field of each kind."""

    text = serializers.CharField(required=False, allow_null=True)
    choice = serializers.ChoiceField(["1", "true"], required=False)
    flag = serializers.BooleanField(required=False)
    number = serializers.IntegerField(required=False)
    day = serializers.DateField(required=False)
    hour = serializers.TimeField(required=False)
    payment = serializers.SlugRelatedField("reference", queryset=Payment.objects.none(), required=False)
    group = serializers.PrimaryKeyRelatedField(queryset=Payment.objects.none(), required=False)
    numbers = serializers.ListField(child=serializers.IntegerField(), required=False)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("text", [0, 1.5, True, [], {}]),
        ("choice", [1, True]),
        ("flag", [0, 1, "true", "no", "", "banana"]),
        ("number", ["1", "1_0", "\u0663", "\uff11", 1.0, True, ""]),
        ("day", [20260101, ARABIC_DAY, "\uff12026-01-01"]),
        ("hour", [9, "\u0660\u0669:\u0660\u0660"]),
        ("payment", [0, True]),
        ("group", ["1", "\u0663", "1_0", True, 1.0]),
    ],
)
def test_other_json_type_is_refused(name, values):
    for value in values:
        serializer = Everything(data={name: value})
        assert not serializer.is_valid()
        assert [(field, [each.code for each in errors]) for field, errors in serializer.errors.items()] == [
            (name, ["invalid"])
        ], value


def test_list_names_the_position_of_another_json_type():
    serializer = Everything(data={"numbers": [1, "2", 3, True]})

    assert not serializer.is_valid()
    assert list(serializer.errors["numbers"]) == [1, 3]


def test_right_json_types_are_accepted():
    sent = {"text": None, "choice": "1", "flag": False, "number": 0, "numbers": [0]}
    serializer = Everything(data=sent)

    assert serializer.is_valid()
    assert serializer.validated_data == sent
    assert type_error(serializers.JSONField(), {"any": 1}) is None


@pytest.mark.django_db
def test_login_and_registration_convert_no_json_type():
    client = browser()

    login = client.post("/api/v1/auth/login/", {"identifier": 0, "password": 1, "remember": 0})
    registration = client.post(
        "/api/v1/auth/register/",
        {"first_name": 0, "last_name": "B", "phone_number": 712345678, "password": "x" * 20, "consent": "yes"},
    )

    assert refused_fields(login) == (
        400,
        [("identifier", "invalid"), ("password", "invalid"), ("remember", "invalid")],
    )
    assert refused_fields(registration) == (
        400,
        [("first_name", "invalid"), ("phone_number", "invalid"), ("consent", "invalid")],
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("plans/", "group=\u0663"),
        ("plans/", "group=1_0"),
        ("subscriptions/", "member=\uff11"),
        ("subscriptions/", f"ends_before={ARABIC_DAY}"),
        ("payments/", "payer=+1"),
        ("users/", f"dob__gte={ARABIC_DAY}"),
    ],
)
def test_filter_has_ascii_digits_only(path, query):
    PlanGroupFactory()
    name, _, value = query.partition("=")

    answer = logged_in_as(UserFactory(role="Manager")).get(f"/api/v1/{path}", {name: value})

    assert (answer.status_code, [row["field"] for row in answer.json()["error"]["details"]]) == (400, [name])
