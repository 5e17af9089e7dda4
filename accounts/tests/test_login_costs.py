"""Costs of a login: every refusal hashes one password, so that the time does not show which accounts exist."""

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher

from accounts.tests.factories import PASSWORD, UserFactory
from api.tests.clients import browser

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth/"


@pytest.fixture
def hashed(monkeypatch):
    """The list of passwords that were hashed."""
    passwords = []
    encode = MD5PasswordHasher.encode

    def counting(self, password, salt):
        passwords.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counting)
    return passwords


PEOPLE = {
    "the right password": ({}, PASSWORD),
    "a wrong password": ({}, "not-the-password"),
    "an unknown identifier": (None, PASSWORD),
    "an inactive person": ({"is_active": False}, PASSWORD),
    "an inactive person's wrong password": ({"is_active": False}, "not-the-password"),
    "no password": ({"password": None}, PASSWORD),
    "no verified contact": ({"email_verified_at": None, "phone_verified_at": None}, PASSWORD),
}


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("by", ["username", "email", "phone_number"])
def test_every_login_hashes_one_password(hashed, who, by):
    fields, password = PEOPLE[who]
    nobody = {"username": "nobody", "email": "nobody@example.com", "phone_number": "0799999999"}
    identifier = nobody[by] if fields is None else getattr(UserFactory(**fields), by)
    client = browser()
    hashed.clear()

    client.post(f"{AUTH}login/", {"identifier": identifier, "password": password})

    assert hashed == [password]


@pytest.mark.parametrize("who", ["a wrong password", "an unknown identifier", "no password", "no verified contact"])
def test_every_failed_verification_hashes_one_password(hashed, who):
    fields, password = PEOPLE[who]
    identifier = "nobody@example.com" if fields is None else UserFactory(**fields).email
    client = browser()
    hashed.clear()

    client.post(f"{AUTH}verify/", {"identifier": identifier, "password": password, "code": "123456"})

    assert len(hashed) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_registration_hashes_as_often_for_known_and_new_contacts(hashed, is_known):
    if is_known:
        UserFactory(email="asha@example.com")
    person = {"first_name": "A", "last_name": "B", "email": "asha@example.com", "password": PASSWORD, "consent": True}
    client = browser()
    hashed.clear()

    client.post(f"{AUTH}register/", person)

    assert hashed == [PASSWORD] * 2  # one is the check of a known password


def count_identifier_lookups(queries):
    """Return how many statements look for a user by username, e-mail address or phone number."""
    return sum('LOWER("accounts_customuser"."username") = ' in query["sql"] for query in queries)


@pytest.mark.parametrize(
    ("who", "queries"), [("the right password", 16), ("a wrong password", 4), ("an unknown identifier", 4)]
)
def test_login_looks_the_identifier_up_once(django_assert_num_queries, who, queries):
    fields, password = PEOPLE[who]
    identifier = "nobody" if fields is None else UserFactory(**fields).username
    client = browser()

    # A refusal: the lookup, two counts of attempts, the audit. A login adds the second factor and the session.
    with django_assert_num_queries(queries) as asked:
        client.post(f"{AUTH}login/", {"identifier": identifier, "password": password})

    assert count_identifier_lookups(asked.captured_queries) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_registration_looks_the_contact_up_once(django_assert_max_num_queries, is_known):
    if is_known:
        UserFactory(email="asha@example.com", email_verified_at=None)
    person = {"first_name": "A", "last_name": "B", "email": "asha@example.com", "password": PASSWORD, "consent": True}
    client = browser()

    with django_assert_max_num_queries(30) as asked:
        client.post(f"{AUTH}register/", person)

    assert count_identifier_lookups(asked.captured_queries) == 1
