"""The demo gym: plans, staff of every role, and members with a history, all created through the services."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from heapq import heapify, heappop, heapreplace

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.utils.timezone import localtime

from api import advisory_locks
from api.business_days import NAIROBI, business_day
from api.roles import Role
from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts
from payments.evidence import c2b_confirmations
from payments.models import CashSession, Channel, Payment
from payments.services.cancellation import expire_due
from subscriptions import gate
from subscriptions.models import FreezeKind, Interval, Plan, PlanGroup, Subscription
from subscriptions.services.catalog import create_plan, create_plan_group
from subscriptions.services.free_periods import grant_free_period
from subscriptions.services.freezes import freeze
from subscriptions.services.purchases import subscribe

# This password is public, so the demo gym is refused outside development.
PASSWORD = "kilabu-demo-1"  # noqa: S105
STAFF = {  # username: role
    "admin": Role.ADMIN,
    "manager": Role.MANAGER,
    "reception": Role.RECEPTIONIST,
    "trainer": Role.TRAINER,
}
MEMBER = "member"
GATE = "front door"
DESK_HOURS = range(6, 21)  # the opening hours of the cash desk

FIRST_NAMES = """
Achieng Akinyi Amina Atieno Baraka Chebet Cherono Esther Faith Fatuma Grace Halima Hassan Ibrahim James Jelagat
John Joy Kamau Kevin Kiprono Kiptoo Lilian Mercy Mohamed Moses Mumbi Mutua Mwende Naliaka Njeri Nyambura Ochieng
Odhiambo Omar Otieno Peter Rehema Ruth Salma Samuel Wairimu Wambui Wanjiku Wekesa Yusuf Zawadi Zuhura
""".split()  # noqa: SIM905 - easier to read without quotes
LAST_NAMES = """
Abdi Barasa Chege Cheruiyot Gathogo Gitau Hussein Juma Kariuki Karanja Kimani Kipchoge Kirui Koech Korir Langat
Macharia Maina Makena Mbugua Muthoni Mutiso Mwangi Mwaura Ndirangu Ngugi Njoroge Nyaga Obiero Odongo Okoth Omondi
Onyango Ouma Rotich Simiyu Thuku Waithaka Wafula Wanyama Were Wangari
""".split()  # noqa: SIM905 - easier to read without quotes

GROUPS = {"Gym access": True, "Personal training": False, "Locker": False}  # name: opens the gate
PLANS: tuple[tuple[str, str, str, int, int, tuple[int, str], dict[str, object]], ...] = (
    # code, name, group, price, joining fee, (count, interval), other fields
    ("day", "Day pass", "Gym access", 300, 0, (1, Interval.DAYS), {}),
    (
        "month",
        "Monthly",
        "Gym access",
        2500,
        0,
        (1, Interval.MONTHS),
        {"grace_days": 3, "max_freezes": 1, "max_freeze_days": 7},
    ),
    (
        "off-peak",
        "Off-peak month",
        "Gym access",
        1800,
        0,
        (1, Interval.MONTHS),
        {"opens_at": "10:00", "closes_at": "16:00"},
    ),
    (
        "quarter",
        "Three months",
        "Gym access",
        6500,
        0,
        (3, Interval.MONTHS),
        {"grace_days": 5, "max_freezes": 2, "max_freeze_days": 14},
    ),
    (
        "year",
        "Yearly",
        "Gym access",
        22000,
        1000,
        (1, Interval.YEARS),
        {"grace_days": 7, "max_freezes": 3, "max_freeze_days": 30},
    ),
    ("ten-visits", "Ten visits", "Gym access", 2000, 0, (3, Interval.MONTHS), {"visits": 10}),
    ("trainer-month", "Personal trainer, a month", "Personal training", 8000, 0, (1, Interval.MONTHS), {}),
    ("locker-month", "Locker, a month", "Locker", 500, 0, (1, Interval.MONTHS), {}),
)
# The plans that members buy, with their weights.
PLAN_WEIGHTS = {"month": 62, "off-peak": 12, "quarter": 16, "ten-visits": 10}


@dataclass
class Gym:
    """What the history of a member needs: plans, staff (username: id), random numbers, the present, used codes."""

    plans: dict[str, Plan]
    staff: dict[str, int]
    chance: random.Random
    now: datetime
    codes: set[str]


def exists() -> bool:
    """Return whether the database has the demo gym already."""
    return get_user_model().objects.filter(username="admin", email="admin@kilabu.example").exists()


@transaction.atomic
def create_gym(*, members: int, seed: int, now: datetime, progress: Callable[[list], Iterable] = iter) -> bool:
    """Create the gym with this number of members. Return False, and change nothing, if it exists already.

    Everything happens in one transaction. The same seed on the same day creates the same people and history.
    `progress` wraps the list of members, for a progress bar.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_locks.DEMO_GYM])
    if exists():
        return False
    chance = random.Random(seed)  # noqa: S311 - no secret depends on it
    password = make_password(PASSWORD)  # hashed once, because hashing is slow on purpose
    staff = {name: _hire(name, role, password, now) for name, role in STAFF.items()}
    gym = Gym(plans=_create_plans(now), staff=staff, chance=chance, now=now, codes=set())
    histories = [_history(number, _join(number, gym, password), gym) for number in range(members)]
    _run_in_order(histories, progress)
    _pay_to_unknown_accounts(gym)
    _close_earlier_session(gym, business_day(now))  # the gym starts the day without an open cash session
    expire_due(now=now, limit=members)
    return True


def _hire(name: str, role: str, password: str, now: datetime) -> int:
    person = get_user_model().objects.create_user(
        name,
        f"{name}@kilabu.example",
        None,
        first_name=name.title(),
        last_name="Demo",
        role=role,
        is_staff=True,
        is_superuser=role == Role.ADMIN,
        email_verified_at=now,
    )
    _set_password([person.pk], password)
    return person.pk


def _set_password(people: Iterable[int], password: str) -> None:
    """Set a password that is hashed already."""
    get_user_model().objects.filter(pk__in=people).update(password=password)


def _create_plans(now: datetime) -> dict[str, Plan]:
    groups = {
        name: create_plan_group(name=name, opens_gate=opens, by_id=None, now=now) for name, opens in GROUPS.items()
    }
    return {
        code: create_plan(
            code=code,
            name=name,
            group=groups[group],
            price=price,
            joining_fee=fee,
            interval=interval,
            interval_count=count,
            by_id=None,
            now=now,
            **more,
        )
        for code, name, group, price, fee, (count, interval), more in PLANS
    }


def _join(number: int, gym: Gym, password: str):
    """Create a member who joined in the last four months. Number 0 is the member to log in as."""
    first, last = gym.chance.choice(FIRST_NAMES), gym.chance.choice(LAST_NAMES)
    joined = gym.now - timedelta(days=gym.chance.randrange(5, 120), minutes=gym.chance.randrange(24 * 60))
    person = get_user_model().objects.create_user(
        MEMBER if number == 0 else f"{first}.{last}.{number}".lower(),
        f"{MEMBER}@kilabu.example" if number == 0 else f"{first}.{last}.{number}@kilabu.example".lower(),
        None,
        first_name=first,
        last_name=last,
        # A range without the phones of the walkthrough and the simulator's special phones.
        phone_number=f"2547110{number:05d}",
        added_by_id=gym.staff["reception"] if gym.chance.random() < 0.3 else None,
        email_verified_at=joined,
        phone_verified_at=joined,
        consented_at=joined,
        date_joined=joined,
    )
    _set_password([person.pk], password)
    return person


def _run_in_order(histories: list[Iterator[datetime]], progress: Callable[[list], Iterable]) -> None:
    """Run the events of all histories in the order of time, because cash sessions are opened and closed day by day."""
    waiting = [(at, number, history) for number, history in enumerate(histories) if (at := next(history, None))]
    heapify(waiting)
    for _ in progress(histories):  # one history ends in each round
        while waiting:
            _, number, history = waiting[0]
            if not (at := next(history, None)):
                heappop(waiting)
                break
            heapreplace(waiting, (at, number, history))


def _history(number: int, person, gym: Gym) -> Iterator[datetime]:
    """Let a member buy, pay, visit and freeze, with some exceptions. Yields the time of the next event before it."""
    chance = gym.chance
    code = "month" if number == 0 else chance.choices(list(PLAN_WEIGHTS), list(PLAN_WEIGHTS.values()))[0]
    at = person.date_joined + timedelta(minutes=20)
    if number % 40 == 7:
        yield at
        grant_free_period(
            member_id=person.pk, plan_code="month", reason="Prize draw", by_id=gym.staff["manager"], now=at
        )
        return
    stays = number == 0 or chance.random() < 0.85
    while at < gym.now:
        yield at
        bought = _buy(person, code, gym, at)
        if bought.starts_on is None or bought.ends_on is None:
            return  # not paid, or only in part
        _visit(person, bought.starts_on, bought.ends_on, gym)
        if (
            chance.random() < 0.08
            and bought.max_freezes
            and bought.starts_on + timedelta(days=9) < business_day(gym.now)
        ):
            _freeze(person, bought.pk, bought.starts_on + timedelta(days=3), at)
        if not stays and chance.random() < 0.5:
            return
        bought.refresh_from_db()
        days_late = chance.choice((-3, -2, -1, -1, 0, 0, 1, 2, 6))
        days = (bought.ends_on - business_day(at)).days + days_late
        at += timedelta(days=max(1, days), minutes=chance.randrange(-180, 180))


def _buy(person, code: str, gym: Gym, at: datetime) -> Subscription:
    """Buy a period and pay for it, mostly by M-Pesa and in full. Return the subscription after that."""
    chance = gym.chance
    purchase = subscribe(
        member_ids=[person.pk],
        plan_code=code,
        payer_id=person.pk,
        phone=None,
        created_by_id=person.pk,
        now=at,
    )
    subscription = purchase.subscription
    payment = subscription.payment
    paid_at = at + timedelta(minutes=chance.randrange(1, 90))
    if not payment.amount_owed or paid_at >= gym.now:
        return subscription
    outcome = chance.random()
    if outcome < 0.04:
        pass  # the member does not pay
    elif outcome < 0.14 and localtime(at).hour in DESK_HOURS and business_day(at) < business_day(gym.now):
        _open_session(gym, at)
        desk_receipts.record_receipt(
            channel=Channel.CASH,
            amount=payment.amount_owed,
            by_id=gym.staff["reception"],
            payment_id=payment.pk,
            now=at,
        )
    elif outcome < 0.18:
        _pay_in(gym, payment.amount_owed // 2, account=payment.reference, person=person, at=paid_at)
    elif outcome < 0.24:
        surplus = chance.choice((50, 100, 500))
        _pay_in(gym, payment.amount_owed + surplus, account=person.member_number, person=person, at=paid_at)
    else:
        _pay_in(gym, payment.amount_owed, account=payment.reference, person=person, at=paid_at)
    subscription.refresh_from_db()
    return subscription


def _pay_in(gym: Gym, amount: int, *, account: str, person, at: datetime) -> None:
    """Pay to the paybill, as a confirmation of Safaricom reports it."""
    message = C2bMessage(
        code=_mpesa_code(gym, at),
        moved_at=at,
        amount=amount,
        shortcode=settings.DARAJA_SHORTCODE,
        account=account,
        sender=f"{person.phone_number[:4]}****{person.phone_number[-3:]}",
        payer_name=person.first_name.upper(),
        transaction_type="Pay Bill",
        third_party_id="",
    )
    c2b_confirmations.apply_c2b(message=message, now=at + timedelta(seconds=2))


def _mpesa_code(gym: Gym, at: datetime) -> str:
    """Return a new code in the form of M-Pesa's: year, month, day and seven more characters."""
    days = "123456789ABCDEFGHIJKLMNOPQRSTUV"
    head = chr(ord("U") + at.year - 2026) + "ABCDEFGHIJKL"[at.month - 1] + days[at.day - 1]
    while True:
        code = head + "".join(gym.chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", k=7))
        if code not in gym.codes:
            gym.codes.add(code)
            return code


def _visit(person, starts_on: date, ends_on: date, gym: Gym) -> None:
    """Check in now and then, within the last ten days."""
    today = business_day(gym.now)
    day = max(starts_on, today - timedelta(days=10))
    while day < min(ends_on, today):
        at = gym.now - timedelta(days=(today - day).days, minutes=gym.chance.randrange(1, 240))
        gate.check_in(member_number=person.member_number, recorded_by_id=gym.staff["reception"], now=at, gate=GATE)
        day += timedelta(days=gym.chance.randrange(3, 9))


def _freeze(person, subscription_id: int, starts_on: date, at: datetime) -> None:
    freeze(
        subscription_id=subscription_id,
        starts_on=starts_on,
        ends_on=starts_on + timedelta(days=5),
        kind=FreezeKind.MEMBER,
        by_id=person.pk,
        now=at,
        reason="Travelling",
    )


def _pay_to_unknown_accounts(gym: Gym) -> None:
    """Create two paybill payments that match no member, so that there are review items."""
    payer = get_user_model()(phone_number="254799000000", first_name="Wanza")
    for hours, account in ((30, "gym fees"), (3, "membership")):
        _pay_in(gym, 2500, account=account, person=payer, at=gym.now - timedelta(hours=hours))


def _open_session(gym: Gym, at: datetime) -> None:
    """Open the receptionist's cash session of that day if needed, and close an earlier one."""
    today = business_day(at)
    _close_earlier_session(gym, today)
    if not CashSession.objects.filter(cashier=gym.staff["reception"], closed_at=None).exists():
        opened_at = datetime.combine(today, time(DESK_HOURS.start), NAIROBI)
        cash_sessions.open_session(cashier_id=gym.staff["reception"], opening_float=2000, now=opened_at)


def _close_earlier_session(gym: Gym, today: date) -> None:
    """Close a cash session of an earlier day, in its evening, with the expected amount."""
    for session in CashSession.objects.filter(cashier=gym.staff["reception"], closed_at=None):
        if (day := business_day(session.opened_at)) < today:
            evening = datetime.combine(day, time(DESK_HOURS.stop), NAIROBI)
            cash_sessions.close_session(
                cashier_id=session.cashier_id, counted=cash_sessions.expected_cash(session), now=evening
            )


def logins() -> list[tuple[str, str]]:
    """Return the role and username of each login of the demo gym."""
    return [(role.value, name) for name, role in STAFF.items()] + [(Role.MEMBER.value, MEMBER)]


def summary() -> str:
    """Return the numbers of rows in the gym, in one line."""
    people = get_user_model().objects.count()
    counts = f"{people} people, {PlanGroup.objects.count()} plan groups, {Plan.objects.count()} plans"
    return f"{counts}, {Subscription.objects.count()} subscriptions, {Payment.objects.count()} payments"
