"""Faults: their effects, how they are armed, and seeded draws."""

import json

import pytest
import requests

from payments.simulator.faults import CALLBACK_FAULTS, MAGIC_PHONES, PERSONS, Behaviour, Faults


def magic(name):
    """Return the magic phone number of a fault."""
    return next(phone for phone, behaviour in MAGIC_PHONES.items() if name in behaviour.as_dict().values())


def push(client, name, **fields):
    return client.push(PhoneNumber=magic(name), **fields)


def arm(client, name, **fields):
    assert client.control("faults/", {"next": [{"fault": name, **fields}]}).status_code == 200


def result_codes(listener, count):
    return [listener.next()[1]["Body"]["stkCallback"]["ResultCode"] for _ in range(count)]


def items(callback):
    return {item["Name"]: item.get("Value") for item in callback["Body"]["stkCallback"]["CallbackMetadata"]["Item"]}


def debits(client):
    return client.control("book/").json()["debits"]


# --- The payer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PERSONS))
def test_each_payer_ends_the_prompt_with_its_code(start, listener, name):
    client = start(speed=200)
    expected = PERSONS[name].result_code

    checkout = push(client, name).json()["CheckoutRequestID"]
    (code,) = result_codes(listener, 1)

    assert code == (int(expected) if expected.isdigit() else expected)
    assert client.query(checkout).json()["ResultCode"] == expected
    assert len(debits(client)) == (name == "pay")


def test_test_number_of_the_sandbox_is_not_answered(start, listener):
    client = start(speed=200)

    client.push(PhoneNumber=254708374149)

    assert result_codes(listener, 1) == [1037]


def test_unreachable_prompt_cannot_be_answered(client):
    checkout = push(client, "unreachable").json()["CheckoutRequestID"]

    assert client.answer(checkout, "pay").status_code == 409


# --- The answer to the push ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lost_answer", "cut_before", "half_json"])
def test_closed_connection_gives_no_answer(client, name):
    with pytest.raises(requests.RequestException):
        push(client, name).json()


@pytest.mark.parametrize(
    ("name", "status", "start_of_body"),
    [
        ("error_500", 500, b'{"requestId"'),
        ("error_after", 500, b'{"requestId"'),
        ("busy_500", 500, b'{"requestId"'),
        ("spike_500", 500, b'{"requestId"'),
        ("quota_500", 500, b'{"requestId"'),
        ("locked", 500, b'{"requestId"'),
        ("token_invalid", 404, b'{"requestId"'),
        ("too_many_429", 429, b"<h1>"),
        ("html_403", 403, b"<html>"),
        ("html_502", 502, b"<html>"),
        ("garbage", 200, b"\x00\xff"),
        ("empty", 200, b""),
        ("slow", 200, b'{"MerchantRequestID"'),
    ],
)
def test_faulty_answers(client, name, status, start_of_body):
    answer = push(client, name)

    assert answer.status_code == status
    assert answer.content.startswith(start_of_body)
    assert bool(answer.content) == bool(start_of_body)


@pytest.mark.parametrize("name", ["slow", "lost_answer", "half_json", "error_after", "garbage", "empty"])
def test_faults_after_the_push_move_the_money(client, listener, name):
    try:
        push(client, name)
    except requests.RequestException:
        assert name in ("lost_answer", "half_json")

    assert result_codes(listener, 1) == [0]
    assert len(debits(client)) == 1


@pytest.mark.parametrize(
    "name",
    ["cut_before", "error_500", "busy_500", "spike_500", "quota_500", "too_many_429", "html_403", "html_502", "locked",
     "token_invalid"],
)  # fmt: skip
def test_faults_before_the_push_do_nothing(client, listener, name):
    try:
        push(client, name)
    except requests.RequestException:
        assert name == "cut_before"

    assert client.control("prompts/").json() == {"prompts": []}


def test_deleted_token_is_refused(client):
    old = client.token()

    first = client.push_with(token=old)
    arm(client, "token_invalid")
    second, third = client.push_with(token=old), client.push_with(token=old)

    assert [answer.status_code for answer in (first, second, third)] == [200, 404, 404]
    assert third.json()["errorCode"] == "404.001.03"


@pytest.mark.parametrize("endpoint", ["oauth", "query"])
def test_other_endpoints_can_have_faults(client, endpoint):
    checkout = client.push().json()["CheckoutRequestID"]
    arm(client, "html_502", endpoint=endpoint)

    if endpoint == "query":
        answers = [client.query(checkout) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [502, 500]
    else:
        url = f"{client.url}/oauth/v1/generate?grant_type=client_credentials"
        answers = [requests.get(url, auth=("simulator-key", "simulator-secret"), timeout=5) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [502, 200]


# --- The callback --------------------------------------------------------------------------------


def test_lost_callback_is_found_by_a_query(client, listener):
    checkout = push(client, "lost_callback").json()["CheckoutRequestID"]

    assert listener.silent(0.5)
    assert client.query(checkout).json()["ResultCode"] == "0"
    assert len(debits(client)) == 1


def test_late_callback_arrives_after_a_query(start, listener):
    client = start(speed=100)
    checkout = push(client, "late").json()["CheckoutRequestID"]

    assert listener.silent(0.6)
    assert client.query(checkout).json()["ResultCode"] == "0"
    assert result_codes(listener, 1) == [0]


def test_early_callback_arrives_before_the_answer(client, listener):
    push(client, "early")

    assert not listener.heard.empty()
    assert result_codes(listener, 1) == [0]


@pytest.mark.parametrize(("name", "codes"), [("duplicate", [0, 0, 0]), ("duplicate_later", [0, 0])])
def test_duplicates_have_the_same_bytes(start, listener, name, codes):
    client = start(speed=200)

    push(client, name)
    bodies = {listener.next_raw()[2] for _ in codes}

    assert len(bodies) == 1
    assert listener.silent()
    assert len(debits(client)) == 1


def test_reordered_callback_arrives_after_another(client, listener):
    first = push(client, "reordered").json()["CheckoutRequestID"]
    assert listener.silent(0.15)
    second = push(client, "pay").json()["CheckoutRequestID"]

    callbacks = [listener.next()[1]["Body"]["stkCallback"]["CheckoutRequestID"] for _ in range(2)]

    assert callbacks == [second, first]


@pytest.mark.parametrize(("name", "first"), [("cancel_then_paid", 1032), ("timeout_then_paid", 1037)])
def test_money_can_move_after_a_reported_failure(start, listener, name, first):
    client = start(speed=100)
    checkout = push(client, name).json()["CheckoutRequestID"]

    assert result_codes(listener, 1) == [first]
    assert client.query(checkout).json()["ResultCode"] == str(first)
    assert debits(client) == []
    assert result_codes(listener, 1) == [0]
    assert client.query(checkout).json()["ResultCode"] == "0"
    assert len(debits(client)) == 1


def test_money_can_move_after_a_query_reported_failure(start, listener):
    client = start(speed=100)
    checkout = push(client, "silent_then_paid").json()["CheckoutRequestID"]

    assert listener.silent(0.4)
    assert client.query(checkout).json()["ResultCode"] == "1037"
    assert result_codes(listener, 1) == [0]


def test_success_can_be_contradicted(client, listener):
    push(client, "paid_then_cancelled")

    assert result_codes(listener, 2) == [0, 1032]
    assert len(debits(client)) == 1


def test_forged_success_moves_no_money(start, listener):
    client = start(speed=200)

    push(client, "forged")

    assert result_codes(listener, 2) == [0, 1037]
    assert debits(client) == []


def test_attacker_can_guess_a_callback_url(start, listener):
    client = start(speed=200)

    push(client, "forged_url")
    (guessed, forged), (real, genuine) = listener.next(), listener.next()

    assert (guessed.startswith("/stk/"), real) == (True, "/stk/token")
    assert guessed != real
    assert [body["Body"]["stkCallback"]["ResultCode"] for body in (forged, genuine)] == [0, 1037]
    assert debits(client) == []


def test_attacker_can_send_the_success_of_another_prompt(client, listener):
    checkout = push(client, "forged_id").json()["CheckoutRequestID"]

    callbacks = [listener.next()[1]["Body"]["stkCallback"] for _ in range(2)]

    assert callbacks[0]["CheckoutRequestID"] != checkout
    assert callbacks[1]["CheckoutRequestID"] == checkout
    (debit,) = debits(client)
    assert items({"Body": {"stkCallback": callbacks[1]}})["MpesaReceiptNumber"] == debit["code"]
    assert items({"Body": {"stkCallback": callbacks[0]}})["MpesaReceiptNumber"] != debit["code"]


@pytest.mark.parametrize("name", ["malformed", "not_json"])
def test_broken_body_cannot_be_read(client, listener, name):
    push(client, name)
    _, _, body = listener.next_raw()

    with pytest.raises(ValueError, match="line 1 column"):
        json.loads(body)
    assert len(debits(client)) == 1


def test_deep_body_has_five_thousand_nested_lists(client, listener):
    push(client, "deep_json")
    _, _, body = listener.next_raw()

    assert body == b"[" * 5000 + b"]" * 5000
    assert len(debits(client)) == 1


def test_broken_body_can_be_followed_by_the_complete_one(client, listener):
    push(client, "malformed_then_good")
    broken, whole = listener.next_raw()[2], listener.next_raw()[2]

    assert whole.startswith(broken)
    assert json.loads(whole)["Body"]["stkCallback"]["ResultCode"] == 0


def test_oversized_body_has_two_megabytes_of_json(client, listener):
    push(client, "oversized")
    _, _, body = listener.next_raw()

    assert len(body) > 2_000_000
    assert json.loads(body)["Body"]["stkCallback"]["ResultCode"] == 0


def test_callback_can_have_another_amount_than_the_book(client, listener):
    push(client, "wrong_amount")

    assert items(listener.next()[1])["Amount"] == 1501
    assert debits(client)[0]["amount"] == 1500


def test_receipt_code_can_be_repeated(client, listener):
    phone = magic("same_code")
    client.control("paybill/", {"phone": phone, "account": "A", "amount": 100})

    push(client, "same_code")
    code = items(listener.next()[1])["MpesaReceiptNumber"]

    assert code == debits(client)[0]["code"]
    assert code != debits(client)[1]["code"]


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("integer_amount", b'{"Name":"Amount","Value":1500}'),
        ("string_values", b'"ResultCode":"0"'),
        ("string_values", b'{"Name":"PhoneNumber","Value":"254700000'),
        ("string_balance", b'{"Name":"Balance","Value":"200"}'),
        ("structured_balance", b'{"Name":"Balance","Value":"{Amount={CurrencyCode=KES'),
        ("shuffled_items", b'{"Item":[{"Name":"PhoneNumber"'),
        ("masked_phone", b'{"Name":"PhoneNumber","Value":"2547****'),
        ("prefixed_desc", b'"ResultDesc":"[STK_CB - ]The service'),
        ("unknown_field", b'"NewField":{"Nested":[1,2,3]}'),
    ],
)
def test_callback_has_each_live_variant(client, listener, name, fragment):
    push(client, name)

    assert fragment in listener.next_raw()[2]


@pytest.mark.parametrize(
    ("name", "missing"), [("no_balance", "Balance"), ("no_phone", "PhoneNumber"), ("no_date", "TransactionDate")]
)
def test_item_of_a_callback_can_be_missing(client, listener, name, missing):
    push(client, name)

    names = {"Amount", "MpesaReceiptNumber", "Balance", "TransactionDate", "PhoneNumber"}
    assert set(items(listener.next()[1])) == names - {missing}


# --- The query -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("processing_500", 500, "The transaction is being processed"),
        ("unknown_id", 500, "The transaction does not Exist"),
        ("query_500", 500, "Internal Server Error"),
        ("processing_4999", 200, "4999"),
        ("says_cancelled", 200, "1032"),
        ("says_paid", 200, "0"),
        ("unlisted_code", 200, "7777"),
        ("query_slow", 200, "0"),
    ],
)
def test_faulty_queries_of_a_paid_prompt(client, listener, name, status, said):
    checkout = push(client, name).json()["CheckoutRequestID"]
    listener.next()

    answer = client.query(checkout)

    assert answer.status_code == status
    assert said in (answer.json().get("errorMessage"), answer.json().get("ResultCode"))


@pytest.mark.parametrize("name", ["says_cancelled", "says_paid"])
def test_only_the_first_query_is_wrong(client, listener, name):
    checkout = push(client, name).json()["CheckoutRequestID"]
    listener.next()
    client.query(checkout)

    assert client.query(checkout).json()["ResultCode"] == "0"


def test_query_can_answer_garbage(client, listener):
    checkout = push(client, "query_garbage").json()["CheckoutRequestID"]

    with pytest.raises(ValueError, match=r"Expecting|codec"):
        client.query(checkout).json()


def test_query_of_an_open_prompt_can_answer_4999(client):
    client.control("options/", {"processing": "4999"})
    checkout = client.push().json()["CheckoutRequestID"]

    body = client.query(checkout).json()

    assert (body["ResultCode"], body["ResultDesc"]) == ("4999", "The transaction is still under processing")


# --- Arming and drawing faults -------------------------------------------------------------------


def test_armed_fault_is_used_by_its_phone_only(client, listener):
    arm(client, "busy_500", phone="254700000002", times=2)

    other = client.push().status_code
    armed = [client.push(PhoneNumber=254700000002).status_code for _ in range(3)]

    assert other == 200
    assert armed == [500, 500, 200]
    assert client.control("faults/").json()["queue"] == []


@pytest.mark.parametrize(
    ("name", "endpoint", "is_valid"),
    [
        ("late", "push", True),
        ("html_403", "oauth", True),
        ("result_late", "b2c", True),
        ("late", "oauth", False),
        ("result_late", "push", False),
        ("result_late", "query", False),
        ("html_403", "nowhere", False),
    ],
)
def test_fault_is_armed_for_its_endpoints_only(client, name, endpoint, is_valid):
    answer = client.control("faults/", {"next": [{"fault": name, "endpoint": endpoint}]})

    assert answer.status_code == (200 if is_valid else 400)


def test_one_push_can_have_several_faults(client, listener):
    for name in ("error_after", "duplicate", "pay"):
        arm(client, name)

    assert client.push().status_code == 500
    assert result_codes(listener, 3) == [0, 0, 0]


def test_clear_removes_armed_faults(client):
    arm(client, "busy_500")
    client.control("faults/", {"rates": {"busy_500": 1}})
    client.control("faults/", {"clear": True})

    assert client.push().status_code == 200


def run(seed, phones=40):
    faults = Faults(seed)
    faults.set_rates({"duplicate": 0.15, "lost_callback": 0.05, "late": 0.1, "error_after": 0.03, "cancel": 0.15})
    numbers = [f"2547110000{number:02d}" for number in range(phones)]
    return {(phone, nth): faults.of_push(phone, faults.next_push(phone)) for nth in range(3) for phone in numbers}


def test_same_seed_gives_the_same_faults():
    assert run(7) == run(7)
    assert run(7) != run(8)


def test_draw_does_not_depend_on_the_order():
    faults = Faults(7)
    faults.set_rates({"duplicate": 0.5})
    phones = [f"2547110000{number:02d}" for number in range(40)]

    forwards = {phone: faults.of_push(phone, 1) for phone in phones}
    backwards = {phone: faults.of_push(phone, 1) for phone in reversed(phones)}

    assert forwards == backwards


def test_draw_follows_the_rates():
    faults = Faults(1)
    faults.set_rates({"duplicate": 0.15, "late": 0.10})

    drawn = [faults.of_push(f"2547{number:08d}", 1).callback for number in range(11_000_000, 11_004_000)]

    assert 0.13 < drawn.count("duplicate") / 4000 < 0.17
    assert 0.08 < drawn.count("late") / 4000 < 0.12


def test_seeded_simulator_repeats_codes_and_faults(start, listener):
    def run_simulator():
        client = start(speed=200, seed=42)
        client.control("faults/", {"rates": {"pay": 0.5, "cancel": 0.5, "duplicate": 0.5}})
        callbacks = []
        for _ in range(4):
            client.push()
            body = listener.next_raw()[2]
            callback = json.loads(body)["Body"]["stkCallback"]
            callbacks.append((callback["ResultCode"], items(json.loads(body)) if callback["ResultCode"] == 0 else None))
            while not listener.silent(0.1):
                callbacks.append("again")
        return [
            entry if entry == "again" else (entry[0], entry[1] and entry[1]["MpesaReceiptNumber"])
            for entry in callbacks
        ]

    assert run_simulator() == run_simulator()


def test_every_fault_has_a_magic_phone():
    named = {name for behaviour in MAGIC_PHONES.values() for name in behaviour.as_dict().values()}

    assert set(CALLBACK_FAULTS) <= named
    assert set(PERSONS) <= named


def test_push_has_no_faults_by_default():
    assert Faults(1).of_push("254712345678", 1) == Behaviour()
