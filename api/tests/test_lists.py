"""Rules of every list: a complete ordering, empty values last, strict booleans, bounded pages and searches."""

import pytest

from accounts.tests.factories import UserFactory
from api.tests.clients import BrowserClient, logged_in_as
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory

pytestmark = pytest.mark.django_db

PLANS = "/api/v1/plans/"
USERS = "/api/v1/users/"


def test_pages_of_equal_rows_have_each_row_once():
    UserFactory.create_batch(61, first_name="Asha", dob="1990-01-01")
    client = logged_in_as(UserFactory(role="Manager", first_name="Zawadi"))

    for ordering in ("first_name", "-first_name", "dob", "-dob"):
        found = []
        for page in range(1, 12):
            found += [
                row["id"]
                for row in client.get(USERS, {"ordering": ordering, "page": page, "page_size": 7})
                .json()
                .get("data", [])
            ]
        assert (len(found), len(set(found))) == (62, 62), ordering


@pytest.mark.parametrize("ordering", ["first_name", "-dob", "last_name,-date_joined"])
def test_every_ordering_ends_with_the_primary_key(django_assert_num_queries, ordering):
    client = logged_in_as(UserFactory(role="Manager"))

    with django_assert_num_queries(3) as queries:
        client.get(USERS, {"ordering": ordering})

    listing = queries.captured_queries[-1]["sql"]
    assert '"accounts_customuser"."id" ASC' in listing.split("ORDER BY")[1]


def test_people_without_birthday_come_last():
    UserFactory(dob=None)
    UserFactory(dob="1990-01-01")
    client = logged_in_as(UserFactory(role="Manager", dob="1980-01-01"))

    for ordering, years in (("-dob", ["1990-01-01", "1980-01-01", None]), ("dob", ["1980-01-01", "1990-01-01", None])):
        assert [row["dob"] for row in client.get(USERS, {"ordering": ordering}).json()["data"]] == years


@pytest.mark.parametrize("ordering", ["--price", "-", "+price", ",", "price,--name"])
def test_malformed_ordering_is_refused(ordering):
    answer = BrowserClient().get(PLANS, {"ordering": ordering})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


def fields_refused(answer):
    return answer.status_code, [row["field"] for row in answer.json()["error"]["details"]]


@pytest.mark.parametrize("value", ["banana", "no", "yes", "1", "0", "null", "TRUE", "unknown"])
def test_boolean_filter_accepts_true_and_false_only(value):
    client = logged_in_as(UserFactory(role="Manager"))

    assert fields_refused(client.get(PLANS, {"is_on_sale": value})) == (400, ["is_on_sale"])
    assert fields_refused(client.get(USERS, {"is_active": value})) == (400, ["is_active"])


def test_boolean_filter_splits_the_rows():
    on_sale, withdrawn = PlanFactory(), PlanFactory(is_on_sale=False)
    client = logged_in_as(UserFactory(role="Manager"))

    for value, plan in (("true", on_sale), ("false", withdrawn)):
        assert [row["id"] for row in client.get(PLANS, {"is_on_sale": value}).json()["data"]] == [plan.pk]


@pytest.mark.parametrize("value", ["", "0", "-1", "101", "null", "abc", "1_0", "٣", "\uff11\uff12", "2.0", "9" * 5000])
@pytest.mark.parametrize("path", ["plans", "payments"])
def test_page_size_is_a_number_from_1_to_100(path, value):
    client = logged_in_as(UserFactory(role="Manager"))

    assert fields_refused(client.get(f"/api/v1/{path}/", {"page_size": value})) == (400, ["page_size"])
    assert client.get(f"/api/v1/{path}/", {"page_size": "100"}).status_code == 200


@pytest.mark.parametrize("text", ["asha " * 6, "a," * 50, "x" * 101])
def test_long_search_is_refused(text):
    assert fields_refused(BrowserClient().get(PLANS, {"search": text})) == (400, ["search"])
    assert BrowserClient().get(PLANS, {"search": "a b c d e"}).status_code == 200


@pytest.mark.parametrize("path", ["plans/", "plan-groups/", "schema/", "docs/", "club/", "auth/csrf/"])
@pytest.mark.parametrize("cookie", ["garbage", "a.b.c", "ended"])
def test_public_page_ignores_an_invalid_cookie(path, cookie):
    PlanGroupFactory()
    client = logged_in_as(UserFactory())
    if cookie == "ended":
        token = client.cookies["Authentication"].value
        client.post("/api/v1/auth/logout/")
        client.cookies["Authentication"] = token
    else:
        client.cookies["Authentication"] = cookie

    assert client.get(f"/api/v1/{path}").status_code == BrowserClient().get(f"/api/v1/{path}").status_code == 200


def test_write_to_a_public_page_refuses_an_invalid_cookie():
    client = logged_in_as(UserFactory(role="Manager"))
    client.cookies["Authentication"] = "garbage"

    assert client.post("/api/v1/plan-groups/", {"name": "Gym"}).status_code == 401


@pytest.mark.parametrize(
    "accept", ["application/yaml", "text/html", "application/json", "*/*", "application/vnd.oai.openapi"]
)
@pytest.mark.parametrize("path", ["schema/", "docs/", "plans/"])
def test_error_is_the_envelope_whatever_was_asked_for(path, accept):
    answer = BrowserClient().put(f"/api/v1/{path}", {}, HTTP_ACCEPT=accept)

    assert answer.status_code in (401, 403, 405, 406)
    assert (answer["Content-Type"], answer.json()["status"]) == ("application/json", "error")
