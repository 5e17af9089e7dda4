"""Access tokens of Daraja."""

import pytest
import requests

URL = "/oauth/v1/generate?grant_type=client_credentials"
GOOD = ("simulator-key", "simulator-secret")


def fetch(client, path=URL, verb="GET", **kwargs):
    return requests.request(verb, client.url + path, timeout=5, **kwargs)


def test_token_has_28_characters_and_3599_seconds(start):
    client = start(expires_in="number")

    body = fetch(client, auth=GOOD).json()

    assert len(body.pop("access_token")) == 28
    assert body == {"expires_in": 3599}


def test_lifetime_alternates_between_string_and_number(client):
    seen = [fetch(client, auth=GOOD).json()["expires_in"] for _ in range(4)]

    assert {type(value) for value in seen} == {int, str}
    assert {int(value) for value in seen} == {3599}


def test_wrong_secret_is_answered_400_without_body(client):
    answer = fetch(client, auth=("simulator-key", "wrong"))

    assert (answer.status_code, answer.content) == (400, b"")


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        (URL, {}, "400.008.01"),
        (URL, {"Authorization": "Bearer x"}, "400.008.01"),
        (
            "/oauth/v1/generate",
            {"Authorization": "Basic c2ltdWxhdG9yOng="},
            "400.008.02",
        ),
    ],
)
def test_other_scheme_or_grant_is_refused(client, path, headers, code):
    answer = fetch(client, path, headers=headers)

    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


def test_token_request_must_be_a_get(client):
    answer = fetch(client, verb="POST", auth=GOOD)

    assert (answer.status_code, answer.json()["errorCode"]) == (404, "404.001.04")


def test_new_token_ends_the_old_one(client):
    old = client.token()
    client.token()

    answer = client.push_with(token=old)

    assert answer.status_code == 404
    assert answer.json()["errorCode"] == "404.001.03"
    assert answer.json()["errorMessage"] == "Invalid Access Token"


def test_old_token_can_stay_valid(start):
    client = start(tokens="all")
    old = client.token()
    client.token()

    assert client.push_with(token=old).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/mpesa/stkpush/v1/processrequest", 404, "404.001.03"),
        ("/mpesa/stkpushquery/v1/query", 400, "400.003.01"),
        ("/mpesa/c2b/v1/registerurl", 400, "400.003.01"),
        ("/mpesa/c2b/v2/simulate", 400, "400.003.01"),
        ("/mpesa/b2c/v3/paymentrequest", 401, "401.002.01"),
        ("/mpesa/reversal/v1/request", 404, "404.001.03"),
        ("/mpesa/transactionstatus/v1/query", 400, "400.003.01"),
        ("/mpesa/accountbalance/v1/query", 401, "401.002.01"),
        ("/pulltransactions/v1/query", 401, "401.001"),
    ],
)
def test_each_api_has_its_own_error_for_a_wrong_token(client, path, status, code):
    answer = requests.post(client.url + path, json={}, headers={"Authorization": "Bearer nonsense"}, timeout=5)

    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)


def test_missing_token_is_an_invalid_header(client):
    answer = requests.post(client.url + "/mpesa/stkpush/v1/processrequest", json={}, timeout=5)

    assert (answer.status_code, answer.json()["errorCode"]) == (404, "404.001.04")


def test_wrong_path_and_method_are_named(client):
    path = requests.post(client.url + "/mpesa/stkpush/v2/processrequest", json={}, timeout=5)
    verb = requests.get(client.url + "/mpesa/stkpush/v1/processrequest", timeout=5)

    assert (path.status_code, path.json()["errorCode"]) == (404, "404.001.01")
    assert (verb.status_code, verb.json()["errorCode"], verb.json()["errorMessage"]) == (
        405,
        "405.001",
        "GET Method Not Allowed",
    )
