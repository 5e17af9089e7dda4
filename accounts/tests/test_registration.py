"""Registration: a contact belongs to nobody until a user verifies it."""

import pytest

from accounts.models import CustomUser
from accounts.services import one_time_codes, people
from accounts.services.audit import Caller
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import code_in_mail, look_up, work
from api.clock import now
from api.roles import Role
from api.tests.clients import browser, logged_in_as
from payments.matching import owners

pytestmark = [pytest.mark.django_db, pytest.mark.server]

AUTH = "/api/v1/auth/"
ASHA = {"first_name": "Asha", "last_name": "Otieno"}  # the member of `add_member`


def test_known_contact_gets_the_same_answer_and_creates_no_user():
    UserFactory(email="asha@example.com")
    body = {
        "first_name": "Amina",
        "last_name": "Bakari",
        "email": "ASHA@example.com",
        "password": PASSWORD,
        "consent": True,
    }

    answer = browser().post(f"{AUTH}register/", body)

    assert answer.status_code == 202
    assert answer.json()["data"] == {"next": "verify"}
    assert CustomUser.objects.count() == 1
    look_up()
    assert not one_time_codes.OneTimeCode.objects.filter(used_at=None).exists()


@pytest.mark.parametrize(
    ("is_active", "advice"),
    [
        (True, "To use the account, log in, or choose a new password. If this was not you, do nothing."),
        (False, "It is closed. To use it again, ask the club. If this was not you, do nothing."),
    ],
)
@pytest.mark.parametrize("path", ["register/", "verify/resend/"])
def test_known_phone_gets_a_message_about_its_account(texts, path, is_active, advice):
    UserFactory(phone_number="254712345678", is_active=is_active)
    person = {**ASHA, "phone_number": "0712 345 678", "password": PASSWORD, "consent": True}

    answer = browser().post(f"{AUTH}{path}", person if path == "register/" else {"identifier": "0712 345 678"})
    work()

    assert answer.status_code == 202
    ((phone, text),) = texts
    assert phone == "254712345678"
    event = "somebody tried to register this contact at Kilabu Fitness, where it has an account already."
    assert text.split(" ", 5)[5] == f"{event} {advice}"


def test_owner_does_not_confirm_a_strangers_earlier_registration():
    person = {"first_name": "Amina", "last_name": "Bakari", "email": "asha@example.com", "consent": True}
    browser().post(f"{AUTH}register/", {**person, "password": "the-strangers-own"})
    look_up()
    owner = browser()

    unaware = owner.post(
        f"{AUTH}verify/", {"identifier": "asha@example.com", "password": PASSWORD, "code": code_in_mail()}
    )
    owner.post(f"{AUTH}register/", {**person, "password": PASSWORD})
    confirmed = owner.post(
        f"{AUTH}verify/", {"identifier": "asha@example.com", "password": PASSWORD, "code": code_in_mail()}
    )
    stranger = browser().post(f"{AUTH}login/", {"identifier": "asha@example.com", "password": "the-strangers-own"})

    assert [unaware.status_code, confirmed.status_code, stranger.status_code] == [400, 200, 401]


@pytest.mark.parametrize(
    "fields", [{"is_superuser": True}, {"is_staff": True}, {"role": "Manager"}, {"added_by": True}, {"proved": True}]
)
def test_registration_never_sets_the_password_of_a_known_user(fields):
    proof = {} if fields.pop("proved", None) else {"email_verified_at": None, "phone_verified_at": None}
    added_by = UserFactory() if fields.pop("added_by", None) else None
    person = UserFactory(email="asha@example.com", added_by=added_by, **proof, **fields)
    body = {
        "first_name": "Amina",
        "last_name": "Bakari",
        "email": person.email,
        "password": "the-strangers-own",
        "consent": True,
    }

    browser().post(f"{AUTH}register/", body)
    look_up()

    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def register(password=PASSWORD, **addresses):
    body = {"first_name": "Amina", "last_name": "Bakari", "password": password, "consent": True, **addresses}
    answer = browser().post(f"{AUTH}register/", body)
    look_up()
    return answer


def verify(identifier, password=PASSWORD):
    """Verify by the last code that was sent; return the status of the response."""
    return (
        browser()
        .post(f"{AUTH}verify/", {"identifier": identifier, "password": password, "code": code_in_mail()})
        .status_code
    )


@pytest.fixture
def unverified_owner():
    """A member with a verified phone number and an unverified e-mail address."""
    return UserFactory(email="asha@example.com", email_verified_at=None)


@pytest.mark.parametrize("first_name", ["Amina", "Asha"], ids=["another name", "the same name"])
def test_verified_contact_moves_from_an_unverified_claim(unverified_owner, first_name):
    register(email="Asha@example.com", first_name=first_name)

    assert verify("asha@example.com") == 200

    unverified_owner.refresh_from_db()
    owner = CustomUser.objects.get(email="Asha@example.com")
    assert (unverified_owner.email, owner.email_verified_at is not None) == (None, True)
    assert (unverified_owner.security_events.get().event, owner.check_password(PASSWORD)) == ("address_lost", True)


def test_registration_alone_moves_no_contact(unverified_owner):
    register(email="asha@example.com")

    unverified_owner.refresh_from_db()
    assert unverified_owner.email == "asha@example.com"


def test_second_registration_of_a_claimed_contact_gets_an_own_account(unverified_owner):
    register(email="asha@example.com", password="the-strangers-own")
    register(email="asha@example.com")

    assert verify("asha@example.com") == 200
    assert CustomUser.objects.get(email="asha@example.com").check_password(PASSWORD)
    assert CustomUser.objects.count() == 3


@pytest.mark.parametrize("names", [ASHA, {"first_name": "Njeri", "last_name": "Otieno"}])
@pytest.mark.parametrize("by_staff", [True, False], ids=["added by staff", "registered"])
def test_holder_of_a_recycled_contact_does_not_replace_a_password(add_member, by_staff, names):
    person = add_member()
    person.set_password("the-members-own-words")
    person.added_by = person.added_by if by_staff else None
    person.save()

    register(email="asha@example.com", **names)

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    newcomer = CustomUser.objects.get(email="asha@example.com")
    assert (person.email, person.check_password("the-members-own-words")) == (None, True)
    assert (newcomer.pk != person.pk, newcomer.check_password(PASSWORD)) == (True, True)
    assert person.security_events.get().event == "address_lost"


def test_member_with_a_password_registers_with_that_password(add_member):
    person = add_member(consented_at=None)
    person.set_password(PASSWORD)
    person.save()

    register(email="asha@example.com", **ASHA)

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert (person.verified("email"), person.consented_at is not None) == ("asha@example.com", True)


def test_code_does_not_replace_a_password_set_meanwhile(add_member):
    person = add_member()
    register(email="asha@example.com", **ASHA)
    person.set_password("the-desks-own-words")
    person.save()

    assert verify("asha@example.com") == 400
    person.refresh_from_db()
    assert person.check_password("the-desks-own-words")


@pytest.mark.parametrize(
    ("first_name", "last_name"),
    [
        ("Asha", "Bakari"),
        ("Amina", "Otieno"),
        ("Otieno", "Otieno"),
        ("Wanjiru", "Asha Otieno"),
        ("Asha Amina Brian Grace", "Otieno"),
        ("Asha", " ".join(["Amina", "Brian", "Grace", "Otieno", "Wanjiru"])),
    ],
)
def test_one_shared_name_or_a_list_of_names_does_not_match(add_member, first_name, last_name):
    person = add_member()

    register(email="asha@example.com", first_name=first_name, last_name=last_name)

    assert one_time_codes.OneTimeCode.objects.get().user != person


def test_parent_does_not_register_as_a_child_with_their_name_as_middle_name(add_member):
    child = add_member(first_name="Brian Grace", last_name="Otieno")

    register(email="asha@example.com", first_name="Grace", last_name="Otieno")

    assert one_time_codes.OneTimeCode.objects.get().user != child


def test_resend_for_a_claimed_contact_goes_to_the_registrant(unverified_owner):
    register(email="asha@example.com")

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()

    sent = one_time_codes.OneTimeCode.objects.exclude(user=unverified_owner).filter(address="asha@example.com")
    assert (sent.count(), one_time_codes.OneTimeCode.objects.count()) == (2, 2)
    assert verify("asha@example.com") == 200


def test_contact_verified_concurrently_stays_with_the_first(unverified_owner, monkeypatch):
    register(email="asha@example.com")
    use = one_time_codes.use

    def meanwhile(*args, **about):
        CustomUser.objects.filter(pk=unverified_owner.pk).update(email_verified_at=now())
        return use(*args, **about)

    monkeypatch.setattr(one_time_codes, "use", meanwhile)

    assert verify("asha@example.com") == 400
    assert CustomUser.objects.get(email="asha@example.com") == unverified_owner


def test_pending_code_of_a_verified_user_does_not_block_registration(unverified_owner):
    former = UserFactory()
    one_time_codes.OneTimeCode.objects.create(
        user=former, purpose="verify", address="asha@example.com", created_at=now(), expires_at=now()
    )

    register(email="asha@example.com")

    assert verify("asha@example.com") == 200


def test_registration_drops_an_email_that_another_user_has(texts):
    owner = UserFactory(email="asha@example.com")

    register(email="asha@example.com", phone_number="254711111111")

    person = CustomUser.objects.exclude(pk=owner.pk).get()
    assert (person.phone_number, person.email) == ("254711111111", None)
    one_time_codes.deliver(code_id=one_time_codes.OneTimeCode.objects.get().pk, now=now())
    code = texts[-1][1].split()[0]
    proof = {"identifier": "0711111111", "password": PASSWORD, "code": code}
    assert browser().post(f"{AUTH}verify/", proof).status_code == 200


def test_resend_for_a_user_without_contact_gets_the_same_answer():
    person = UserFactory(email=None, phone_number=None, email_verified_at=None, phone_verified_at=None)

    answer = browser().post(f"{AUTH}verify/resend/", {"identifier": person.username})

    assert (answer.status_code, answer.json()["data"]) == (202, None)
    look_up()
    assert not one_time_codes.OneTimeCode.objects.filter(used_at=None).exists()


@pytest.fixture
def add_member():
    """Return a function that adds a member for staff, with an unverified e-mail address."""

    def add(**fields):
        staff = UserFactory(role=Role.RECEPTIONIST)
        person = {"first_name": "Asha", "last_name": "Otieno", "email": "asha@example.com", "phone_number": None}
        return UserFactory(
            **{**person, **fields}, added_by=staff, password=None, email_verified_at=None, phone_verified_at=None
        )

    return add


@pytest.mark.parametrize(
    "names", [("Asha", "Otieno"), ("ASHA", "otieno"), ("Otieno", "Asha"), ("Asha", "Njeri Otieno")]
)
def test_added_member_gains_access_by_registration(add_member, names):
    person = add_member()

    register(email="asha@example.com", first_name=names[0], last_name=names[1])

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert (person.verified("email"), person.first_name, person.last_name) == ("asha@example.com", "Asha", "Otieno")
    assert logged_in_as(person).get(f"{AUTH}me/").json()["data"]["member_number"] == person.member_number


@pytest.mark.parametrize("names", [ASHA, {"first_name": "Amina", "last_name": "Bakari"}])
def test_login_before_the_code_shows_no_name_and_no_account(add_member, names):
    add_member()
    register(email="asha@example.com", **names)
    register(email="new@example.com", **names)

    answers = [
        browser().post(f"{AUTH}login/", {"identifier": email, "password": PASSWORD})
        for email in ("asha@example.com", "new@example.com", "unknown@example.com")
    ]

    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (401, "invalid_credentials")
    ] * 3


def test_known_user_is_unchanged_before_the_code(add_member):
    person = add_member(consented_at=None)

    register(email="asha@example.com", **ASHA)

    person.refresh_from_db()
    assert (person.has_usable_password(), person.consented_at, person.is_verified) == (False, None, False)
    answer = browser().post(f"{AUTH}login/", {"identifier": "asha@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_credentials")


def test_verification_records_consent(add_member):
    person = add_member(consented_at=None)
    register(email="asha@example.com", **ASHA)

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert person.consented_at is not None


def test_code_goes_to_the_contact_as_stored(add_member):
    add_member(email="Asha@example.com")

    register(email="asha@EXAMPLE.com", **ASHA)

    assert one_time_codes.OneTimeCode.objects.get().address == "Asha@example.com"


@pytest.mark.parametrize("email", ["asha@gma\u0131l.com", "a\u017fha@gmail.com", "asha@\u212aenya.com"])
def test_lookalike_email_address_is_refused(email):
    assert register(email=email).status_code == 400


def test_resent_code_activates_the_same_password(add_member):
    person = add_member(phone_number="254711111111")
    register(email="asha@example.com", **ASHA)

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()

    assert list(one_time_codes.OneTimeCode.objects.values_list("address", flat=True)) == ["asha@example.com"] * 2
    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def test_password_of_an_ended_code_is_not_activated(add_member):
    person = add_member()
    register(email="asha@example.com", **ASHA)
    one_time_codes.end_open(user=person, now=now())

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()

    assert verify("asha@example.com") == 400


def test_registration_by_a_stranger_does_not_block_an_added_member(add_member):
    person = add_member()
    person.set_password("the-desks-own-words")
    person.save()
    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()
    code = code_in_mail()
    register(email="asha@example.com", password="the-strangers-own")

    proof = {"identifier": "asha@example.com", "password": "the-desks-own-words", "code": code}

    assert browser().post(f"{AUTH}verify/", proof).status_code == 200
    person.refresh_from_db()
    assert person.verified("email") == "asha@example.com"


def test_codes_go_to_the_member_after_a_strangers_code_expires(add_member):
    person = add_member()
    register(email="asha@example.com")
    one_time_codes.OneTimeCode.objects.update(expires_at=now())

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()

    assert one_time_codes.OneTimeCode.objects.latest("id").user == person


def test_limited_request_keeps_the_earlier_code_and_password(add_member):
    person = add_member()
    for _ in range(5):
        register(email="asha@example.com", **ASHA)
    code = code_in_mail()

    refused = register(email="asha@example.com", **ASHA, password="the-strangers-own")

    assert refused.status_code == 429
    proof = {"identifier": "asha@example.com", "password": PASSWORD, "code": code}
    assert browser().post(f"{AUTH}verify/", proof).status_code == 200
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def test_registrations_by_strangers_do_not_block_a_password_reset():
    UserFactory(email="asha@example.com", phone_number=None)
    for _ in range(5):
        register(email="asha@example.com")

    assert browser().post(f"{AUTH}password/reset/", {"identifier": "asha@example.com"}).status_code == 202


def test_request_limit_is_the_same_for_known_and_unknown_contacts():
    UserFactory(email="asha@example.com")
    for n in range(30):
        browser().post(f"{AUTH}verify/resend/", {"identifier": f"nobody{n}@example.com"})

    assert [register(email=email).status_code for email in ("asha@example.com", "new@example.com")] == [429, 429]


@pytest.mark.parametrize(
    ("typed_as", "said"), [("Ng'ang'a", "Ng\u2019ang\u2019a"), ("O. Mwangi", "Mwangi"), ("Wanj\u0069ku", "WANJIKU")]
)
def test_names_match_in_any_spelling_of_case_and_apostrophes(add_member, typed_as, said):
    person = add_member(first_name=typed_as, last_name="Zuberi")

    register(email="asha@example.com", first_name=said, last_name="Zuberi")

    assert one_time_codes.OneTimeCode.objects.get().user == person


def test_initial_does_not_match_a_name(add_member):
    person = add_member(first_name="Baraka", last_name="O.")

    register(email="asha@example.com", first_name="Zuberi", last_name="O")

    assert one_time_codes.OneTimeCode.objects.get().user != person


def test_inactive_member_gets_no_code(add_member):
    add_member(is_active=False)

    register(email="asha@example.com", **ASHA)

    look_up()
    assert not one_time_codes.OneTimeCode.objects.filter(used_at=None).exists()


def test_owner_of_a_mistyped_contact_gets_an_own_account(add_member):
    person = add_member(first_name="Baraka", last_name="Mwangi")

    register(email="asha@example.com")

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert (person.email, person.has_usable_password()) == (None, False)
    assert person.security_events.get().event == "address_lost"


def test_mistyped_contact_does_not_give_away_the_member():
    member = UserFactory(first_name="Baraka", last_name="Mwangi", email="asha@example.com", phone_number=None)
    CustomUser.objects.update(email_verified_at=None, phone_verified_at=None)  # as after a change in the admin

    register(email="asha@example.com")

    assert verify("asha@example.com") == 200
    member.refresh_from_db()
    assert (member.email, member.check_password(PASSWORD)) == (None, True)
    assert CustomUser.objects.exclude(pk=member.pk).get().verified("email") == "asha@example.com"


def test_earlier_registration_by_a_stranger_does_not_block_the_member(add_member):
    person = add_member()
    register(email="asha@example.com", password="the-strangers-own")
    register(email="asha@example.com", **ASHA, password="the-strangers-own")

    register(email="asha@example.com", **ASHA)

    assert verify("asha@example.com") == 200
    person.refresh_from_db()
    assert person.verified("email") == "asha@example.com"


@pytest.mark.parametrize("fields", [{"role": Role.RECEPTIONIST}, {"is_staff": True}])
def test_registration_cannot_take_over_staff(add_member, fields):
    person = add_member(**fields)

    register(email="asha@example.com", **ASHA)

    assert verify("asha@example.com") == 400
    person.refresh_from_db()
    assert not person.has_usable_password()


def test_staff_verify_a_contact_with_their_own_password(add_member):
    person = add_member(role=Role.RECEPTIONIST)
    person.set_password(PASSWORD)
    person.save()

    register(email="asha@example.com", **ASHA, password="the-strangers-own")

    assert verify("asha@example.com") == 200


def test_resend_accepts_a_username():
    person = UserFactory(email_verified_at=None, phone_verified_at=None, phone_number=None)

    browser().post(f"{AUTH}verify/resend/", {"identifier": person.username})
    look_up()

    assert one_time_codes.OneTimeCode.objects.get().address == person.email


def test_password_set_with_a_new_role_is_kept():
    register(email="asha@example.com", password="the-strangers-own")
    person, by = CustomUser.objects.get(), UserFactory(role=Role.MANAGER)

    given = {"role": Role.RECEPTIONIST, "password": "the-managers-own-words"}
    people.change_person(person_id=person.pk, by=by, caller=Caller(), now=now(), **given)

    person.refresh_from_db()
    assert person.check_password("the-managers-own-words")


def test_unverified_users_password_is_removed_with_a_staff_role():
    register(email="asha@example.com", password="the-strangers-own")
    person = CustomUser.objects.get()

    people.change_person(
        person_id=person.pk, by=UserFactory(role=Role.MANAGER), caller=Caller(), now=now(), role=Role.RECEPTIONIST
    )

    person.refresh_from_db()
    assert (person.is_staff, person.has_usable_password()) == (True, False)


def test_contact_of_staff_cannot_be_registered_by_others(add_member):
    person = add_member(role=Role.RECEPTIONIST, first_name="Baraka", last_name="Mwangi")

    register(email="asha@example.com")

    assert not CustomUser.objects.exclude(pk__in=[person.pk, person.added_by_id]).exists()


@pytest.fixture
def registered_with_another_persons_phone():
    """A newcomer with another person's phone number and their own e-mail address, neither verified."""
    register(email="asha@example.com", phone_number="254711111111")
    return CustomUser.objects.get()


def owner_of_money(*, account="", sender=""):
    match = owners.find_owner(account=account, sender=sender)
    return match.member_id, match.suggestions


@pytest.mark.parametrize(
    "money",
    [
        {"account": "0711111111"},
        {"sender": "254711111111"},
        {"sender": owners.sha256_of("254711111111")},
        {"sender": "25471****111"},
    ],
)
def test_self_declared_phone_owns_no_money(registered_with_another_persons_phone, money):
    assert owner_of_money(**money) == (None, [])


def test_self_declared_phone_is_dropped_when_the_email_is_verified(registered_with_another_persons_phone):
    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    look_up()

    assert verify("asha@example.com") == 200
    person = CustomUser.objects.get()
    assert (person.verified("email"), person.phone_number) == ("asha@example.com", None)
    assert person.security_events.filter(event="address_lost").get().detail == {"channel": "phone_number"}


def test_verified_phone_owns_money(registered_with_another_persons_phone, texts):
    one_time_codes.deliver(code_id=one_time_codes.OneTimeCode.objects.get().pk, now=now())
    proof = {"identifier": "0711111111", "password": PASSWORD, "code": texts[-1][1].split()[0]}

    assert browser().post(f"{AUTH}verify/", proof).status_code == 200
    assert owner_of_money(sender="254711111111") == (registered_with_another_persons_phone.pk, [])


@pytest.mark.parametrize("phone_number", ["254711111111", "254722222222"], ids=["the same", "another"])
def test_phone_that_staff_entered_owns_money(registered_with_another_persons_phone, phone_number):
    person, by = registered_with_another_persons_phone, UserFactory(role=Role.MANAGER)

    people.change_person(person_id=person.pk, by=by, caller=Caller(), now=now(), phone_number=phone_number)

    assert owner_of_money(sender=phone_number) == (person.pk, [])


def test_phone_that_staff_enter_leaves_who_only_typed_it(registered_with_another_persons_phone):
    by = UserFactory(role=Role.RECEPTIONIST)

    member = people.add_person(
        added_by=by, caller=Caller(), now=now(), phone_number="254711111111", first_name="Asha", last_name="Otieno"
    )

    registered_with_another_persons_phone.refresh_from_db()
    assert registered_with_another_persons_phone.phone_number is None
    lost = registered_with_another_persons_phone.security_events.get(event="address_lost")
    assert (lost.actor, lost.detail) == (by, {"channel": "phone_number"})
    assert owner_of_money(sender="254711111111") == (member.pk, [])
