"""Who an address belongs to while it is being registered: to nobody until somebody proves it."""

import pytest

from accounts.models import CustomUser
from accounts.services import one_time_codes, people
from accounts.services.audit import Caller
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import code_in_mail
from api.clock import now
from api.roles import Role
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

AUTH = "/api/v1/auth/"


def test_registering_a_known_address_answers_alike_and_makes_nobody():
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
    assert not one_time_codes.OneTimeCode.objects.exists()


def test_a_stranger_who_registered_first_is_not_confirmed_by_the_owner():
    person = {"first_name": "Amina", "last_name": "Bakari", "email": "asha@example.com", "consent": True}
    browser().post(f"{AUTH}register/", {**person, "password": "the-strangers-own"})
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
def test_registering_anothers_address_never_sets_their_password(fields):
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

    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def register(password=PASSWORD, **addresses):
    body = {"first_name": "Amina", "last_name": "Bakari", "password": password, "consent": True, **addresses}
    return browser().post(f"{AUTH}register/", body)


def proves(identifier, password=PASSWORD):
    """Confirm by the code that was sent last, and say with which status."""
    return (
        browser()
        .post(f"{AUTH}verify/", {"identifier": identifier, "password": password, "code": code_in_mail()})
        .status_code
    )


@pytest.fixture
def squatter():
    """Somebody who has proved a phone, and says without proof that an e-mail address is theirs."""
    return UserFactory(email="asha@example.com", email_verified_at=None)


@pytest.mark.parametrize("first_name", ["Amina", "Asha"], ids=["another name", "the same name"])
def test_who_proves_an_address_has_it_though_somebody_said_before_that_it_was_theirs(squatter, first_name):
    register(email="Asha@example.com", first_name=first_name)

    assert proves("asha@example.com") == 200

    squatter.refresh_from_db()
    owner = CustomUser.objects.get(email="Asha@example.com")
    assert (squatter.email, owner.email_verified_at is not None) == (None, True)
    assert (squatter.security_events.get().event, owner.check_password(PASSWORD)) == ("address_lost", True)


def test_who_only_registers_an_address_takes_it_from_nobody(squatter):
    register(email="asha@example.com")

    squatter.refresh_from_db()
    assert squatter.email == "asha@example.com"


def test_registering_a_squatted_address_again_sets_the_password_and_makes_nobody_else(squatter):
    register(email="asha@example.com", password="the-strangers-own")
    register(email="asha@example.com")

    assert proves("asha@example.com") == 200
    assert CustomUser.objects.count() == 2


def test_a_code_for_a_squatted_address_is_sent_again_to_who_registered_it(squatter):
    register(email="asha@example.com")

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})

    sent = one_time_codes.OneTimeCode.objects.exclude(user=squatter).filter(address="asha@example.com")
    assert (sent.count(), one_time_codes.OneTimeCode.objects.count()) == (2, 2)
    assert proves("asha@example.com") == 200


def test_an_address_that_is_proved_while_another_code_for_it_is_used_stays_with_who_was_first(squatter, monkeypatch):
    register(email="asha@example.com")
    use = one_time_codes.use

    def meanwhile(*args, **about):
        CustomUser.objects.filter(pk=squatter.pk).update(email_verified_at=now())
        return use(*args, **about)

    monkeypatch.setattr(one_time_codes, "use", meanwhile)

    assert proves("asha@example.com") == 400
    assert CustomUser.objects.get(email="asha@example.com") == squatter


def test_who_was_sent_a_code_for_an_address_and_has_proved_another_stands_in_nobodys_way(squatter):
    former = UserFactory()
    one_time_codes.OneTimeCode.objects.create(
        user=former, purpose="verify", address="asha@example.com", created_at=now(), expires_at=now()
    )

    register(email="asha@example.com")

    assert proves("asha@example.com") == 200


def test_who_has_a_phone_of_their_own_registers_though_the_email_they_give_is_somebodys(texts):
    owner = UserFactory(email="asha@example.com")

    register(email="asha@example.com", phone_number="254711111111")

    person = CustomUser.objects.exclude(pk=owner.pk).get()
    assert (person.phone_number, person.email) == ("254711111111", None)
    one_time_codes.deliver(code_id=one_time_codes.OneTimeCode.objects.get().pk, now=now())
    code = texts[-1][1].split()[0]
    proof = {"identifier": "0711111111", "password": PASSWORD, "code": code}
    assert browser().post(f"{AUTH}verify/", proof).status_code == 200


def test_asking_again_for_a_code_of_who_has_no_address_is_answered_alike():
    person = UserFactory(email=None, phone_number=None, email_verified_at=None, phone_verified_at=None)

    answer = browser().post(f"{AUTH}verify/resend/", {"identifier": person.username})

    assert (answer.status_code, answer.json()["data"]) == (202, None)
    assert not one_time_codes.OneTimeCode.objects.exists()


@pytest.fixture
def typed():
    """A member whom staff added with an address that nobody has proved yet."""

    def add(**fields):
        staff = UserFactory(role=Role.RECEPTIONIST)
        person = {"first_name": "Asha", "last_name": "Otieno", "email": "asha@example.com", "phone_number": None}
        return UserFactory(
            **{**person, **fields}, added_by=staff, password=None, email_verified_at=None, phone_verified_at=None
        )

    return add


@pytest.mark.parametrize("names", [("Asha", "Otieno"), ("ASHA", "Wanjiru"), ("Wanjiru", "Asha")])
def test_who_was_added_at_the_desk_comes_in_by_registering(typed, names):
    person = typed()

    register(email="asha@example.com", first_name=names[0], last_name=names[1])

    assert proves("asha@example.com") == 200
    person.refresh_from_db()
    assert (person.verified("email"), person.first_name, person.last_name) == ("asha@example.com", "Asha", "Otieno")
    assert logged_in_as(person).get(f"{AUTH}me/").json()["data"]["member_number"] == person.member_number


def test_a_newcomer_who_has_proved_nothing_yet_is_told_so_at_the_log_in():
    register(email="asha@example.com")

    answer = browser().post(f"{AUTH}login/", {"identifier": "asha@example.com", "password": PASSWORD})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "email_not_verified")


def test_nothing_of_who_is_known_changes_before_they_give_the_code(typed):
    person = typed(consented_at=None)

    register(email="asha@example.com", first_name="Asha")

    person.refresh_from_db()
    assert (person.has_usable_password(), person.consented_at, person.is_verified) == (False, None, False)
    answer = browser().post(f"{AUTH}login/", {"identifier": "asha@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_credentials")


def test_who_gives_the_code_has_agreed_to_the_terms(typed):
    person = typed(consented_at=None)
    register(email="asha@example.com", first_name="Asha")

    assert proves("asha@example.com") == 200
    person.refresh_from_db()
    assert person.consented_at is not None


def test_a_code_goes_to_the_address_as_it_stands_with_the_person(typed):
    typed(email="Asha@example.com")

    register(email="asha@EXAMPLE.com", first_name="Asha")

    assert one_time_codes.OneTimeCode.objects.get().address == "Asha@example.com"


@pytest.mark.parametrize("email", ["asha@gma\u0131l.com", "a\u017fha@gmail.com", "asha@\u212aenya.com"])
def test_an_address_that_only_looks_like_anothers_is_refused(email):
    assert register(email=email).status_code == 400


def test_another_code_takes_the_password_along_that_was_chosen(typed):
    person = typed(phone_number="254711111111")
    register(email="asha@example.com", first_name="Asha")

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})

    assert list(one_time_codes.OneTimeCode.objects.values_list("address", flat=True)) == ["asha@example.com"] * 2
    assert proves("asha@example.com") == 200
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def test_what_was_chosen_with_a_code_that_staff_have_ended_is_forgotten(typed):
    person = typed()
    register(email="asha@example.com", first_name="Asha")
    one_time_codes.end_open(user=person, now=now())

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})

    assert proves("asha@example.com") == 400


def test_a_stranger_beside_them_does_not_keep_out_whom_the_desk_gave_a_password(typed):
    person = typed()
    person.set_password("the-desks-own-words")
    person.save()
    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})
    code = code_in_mail()
    register(email="asha@example.com", password="the-strangers-own")

    proof = {"identifier": "asha@example.com", "password": "the-desks-own-words", "code": code}

    assert browser().post(f"{AUTH}verify/", proof).status_code == 200
    person.refresh_from_db()
    assert person.verified("email") == "asha@example.com"


def test_once_a_strangers_code_is_over_codes_go_to_the_member_again(typed):
    person = typed()
    register(email="asha@example.com")
    one_time_codes.OneTimeCode.objects.update(expires_at=now())

    browser().post(f"{AUTH}verify/resend/", {"identifier": "asha@example.com"})

    assert one_time_codes.OneTimeCode.objects.latest("id").user == person


def test_a_refused_code_leaves_the_one_before_and_its_password(typed):
    person = typed()
    for _ in range(5):
        register(email="asha@example.com", first_name="Asha")
    code = code_in_mail()

    refused = register(email="asha@example.com", first_name="Asha", password="the-strangers-own")

    assert refused.status_code == 429
    proof = {"identifier": "asha@example.com", "password": PASSWORD, "code": code}
    assert browser().post(f"{AUTH}verify/", proof).status_code == 200
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def test_strangers_who_register_a_members_address_do_not_keep_them_from_resetting_their_password():
    UserFactory(email="asha@example.com", phone_number=None)
    for _ in range(5):
        register(email="asha@example.com")

    assert browser().post(f"{AUTH}password/reset/", {"identifier": "asha@example.com"}).status_code == 202


def test_how_often_a_place_may_ask_is_the_same_for_known_and_unknown_addresses():
    UserFactory(email="asha@example.com")
    for n in range(30):
        browser().post(f"{AUTH}verify/resend/", {"identifier": f"nobody{n}@example.com"})

    assert [register(email=email).status_code for email in ("asha@example.com", "new@example.com")] == [429, 429]


@pytest.mark.parametrize(
    ("typed_as", "said"), [("Ng'ang'a", "Ng\u2019ang\u2019a"), ("O. Mwangi", "Mwangi"), ("Wanj\u0069ku", "WANJIKU")]
)
def test_a_name_is_the_same_however_it_is_typed(typed, typed_as, said):
    person = typed(first_name=typed_as, last_name="")

    register(email="asha@example.com", first_name=said, last_name="Zuberi")

    assert one_time_codes.OneTimeCode.objects.get().user == person


def test_an_initial_is_no_name(typed):
    person = typed(first_name="Baraka", last_name="O.")

    register(email="asha@example.com", first_name="Zuberi", last_name="O")

    assert one_time_codes.OneTimeCode.objects.get().user != person


def test_whom_staff_have_shut_out_is_sent_no_code(typed):
    typed(is_active=False)

    register(email="asha@example.com", first_name="Asha")

    assert not one_time_codes.OneTimeCode.objects.exists()


def test_whose_address_staff_typed_for_somebody_else_has_an_account_of_their_own(typed):
    person = typed(first_name="Baraka", last_name="Mwangi")

    register(email="asha@example.com")

    assert proves("asha@example.com") == 200
    person.refresh_from_db()
    assert (person.email, person.has_usable_password()) == (None, False)
    assert person.security_events.get().event == "address_lost"


def test_a_member_whose_number_staff_mistyped_is_not_taken_over_by_whose_it_is():
    member = UserFactory(first_name="Baraka", last_name="Mwangi", email="asha@example.com", phone_number=None)
    CustomUser.objects.update(email_verified_at=None, phone_verified_at=None)  # as the admin does with what it changes

    register(email="asha@example.com")

    assert proves("asha@example.com") == 200
    member.refresh_from_db()
    assert (member.email, member.check_password(PASSWORD)) == (None, True)
    assert CustomUser.objects.exclude(pk=member.pk).get().verified("email") == "asha@example.com"


def test_a_stranger_who_registers_a_members_address_first_does_not_keep_them_out(typed):
    person = typed()
    register(email="asha@example.com", password="the-strangers-own")
    register(email="asha@example.com", first_name="Asha", password="the-strangers-own")

    register(email="asha@example.com", first_name="Asha")

    assert proves("asha@example.com") == 200
    person.refresh_from_db()
    assert person.verified("email") == "asha@example.com"


@pytest.mark.parametrize("fields", [{"role": Role.RECEPTIONIST}, {"is_staff": True}])
def test_nobody_becomes_staff_by_registering(typed, fields):
    person = typed(**fields)

    register(email="asha@example.com", first_name="Asha")

    assert proves("asha@example.com") == 400
    person.refresh_from_db()
    assert not person.has_usable_password()


def test_a_colleague_proves_an_address_by_the_password_they_were_given_whoever_registers_it(typed):
    person = typed(role=Role.RECEPTIONIST)
    person.set_password(PASSWORD)
    person.save()

    register(email="asha@example.com", first_name="Asha", password="the-strangers-own")

    assert proves("asha@example.com") == 200


def test_a_code_is_sent_again_to_who_gives_their_username():
    person = UserFactory(email_verified_at=None, phone_verified_at=None, phone_number=None)

    browser().post(f"{AUTH}verify/resend/", {"identifier": person.username})

    assert one_time_codes.OneTimeCode.objects.get().address == person.email


def test_a_password_that_staff_give_with_the_role_is_the_persons_from_now_on():
    register(email="asha@example.com", password="the-strangers-own")
    person, by = CustomUser.objects.get(), UserFactory(role=Role.MANAGER)

    given = {"role": Role.RECEPTIONIST, "password": "the-managers-own-words"}
    people.change_person(person_id=person.pk, by=by, caller=Caller(), now=now(), **given)

    person.refresh_from_db()
    assert person.check_password("the-managers-own-words")


def test_a_password_that_a_stranger_chose_opens_no_admin_when_its_person_is_made_staff():
    register(email="asha@example.com", password="the-strangers-own")
    person = CustomUser.objects.get()

    people.change_person(
        person_id=person.pk, by=UserFactory(role=Role.MANAGER), caller=Caller(), now=now(), role=Role.RECEPTIONIST
    )

    person.refresh_from_db()
    assert (person.is_staff, person.has_usable_password()) == (True, False)


def test_an_address_that_staff_typed_for_a_colleague_is_nobody_elses_to_register(typed):
    person = typed(role=Role.RECEPTIONIST, first_name="Baraka", last_name="Mwangi")

    register(email="asha@example.com")

    assert not CustomUser.objects.exclude(pk__in=[person.pk, person.added_by_id]).exists()
