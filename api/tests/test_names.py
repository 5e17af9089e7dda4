"""Names are stored on one line, without control characters, whoever writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import CustomUser
from accounts.tests.factories import UserFactory
from api.names import plain_name
from api.tests.clients import logged_in_as
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations
from payments.models import Receipt
from payments.tests.factories import NOON


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Wanjikũ\nwa  Ngũgĩ", "Wanjikũ wa Ngũgĩ"),
        (" Asha\t\r\nOtieno ", "Asha Otieno"),
        ("Asha\u2028Otieno\u00a0Auma", "Asha Otieno Auma"),
        ("As\x00h\x1ba\x7f", "Asha"),
        ("Asha \u202eonaitO\u2066", "Asha onaitO"),
        ("A\u00adsha\u200b\ufeff", "Asha"),
        ("\u200b \n", ""),
        ("Ngu\u0303gi\u0303", "Ngũgĩ"),
        ("محمد‌علي", "محمد‌علي"),
        ("王小明", "王小明"),
        ("Amina 👩🏾‍🦱", "Amina 👩🏾‍🦱"),
        ("As\ud800ha", "Asha"),
    ],
)
def test_plain_name_is_one_line_of_visible_text(text, stored):
    assert plain_name(text) == stored


@given(st.text())
def test_plain_name_of_a_plain_name_is_the_same(text):
    assert plain_name(plain_name(text)) == plain_name(text)


@pytest.mark.django_db
@pytest.mark.server
@pytest.mark.parametrize("write", ["save", "create", "update", "bulk_create", "api"])
def test_every_write_stores_a_plain_name(write):
    name, stored = "Asha\nwa\u202e\tOtieno", "Asha wa Otieno"
    person = UserFactory(first_name="Juma", role="Manager")
    match write:
        case "save":
            person.first_name = name
            person.save()
            assert person.first_name == stored
        case "create":
            person = CustomUser.objects.create_member(first_name=name, last_name="A")
            assert person.first_name == stored
        case "update":
            CustomUser.objects.filter(pk=person.pk).update(first_name=name)
        case "bulk_create":
            person = CustomUser(first_name=name, username="bulk", member_number="9999999")
            CustomUser.objects.bulk_create([person])
        case "api":
            answer = logged_in_as(person).patch("/api/v1/auth/me/", {"first_name": name})
            assert answer.json()["data"]["first_name"] == stored

    assert CustomUser.objects.get(pk=person.pk).first_name == stored


@pytest.mark.django_db
@pytest.mark.server
def test_payer_name_of_a_paybill_payment_is_a_plain_name():
    message = C2bMessage("TKN1AB2C3D", NOON, 700, "174379", "gym", "", "JANE\n\x1b[31mWANJIRU", "Pay Bill", "")

    c2b_confirmations.apply_c2b(message=message, now=NOON)

    assert Receipt.objects.get().payer_name == "JANE [31mWANJIRU"
