"""Every example of docs/membership-rules.md, played against the product."""

import re
from datetime import datetime, time, timedelta

import pytest
from django.conf import settings

from accounts.services.people import set_consent
from api.business_days import NAIROBI, business_day
from api.errors import DomainError
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations
from payments.models import Payment, Receipt
from payments.services.reversals import reverse_receipt
from subscriptions import gate
from subscriptions.models import FreezeKind, LateRenewal, Plan, Subscription
from subscriptions.services import freezes, plan_changes, purchases
from subscriptions.tests.factories import MemberFactory, PlanFactory, pay, pay_part

pytestmark = pytest.mark.django_db

PAGE = (settings.BASE_DIR / "docs" / "membership-rules.md").read_text()
LATE = {"on the payment day": LateRenewal.FROM_PAYMENT, "at the old end": LateRenewal.FROM_EXPIRY}
EVENT = re.compile(r"(\d{1,2} [A-Z][a-z]{2} \d{4})(?: at (\d\d):(\d\d))? (.+)")


def rows(heading):
    """Return the cells of each row of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


EXAMPLES = rows("Examples")


def events(text):
    """Yield (instant, text) of each part of a cell."""
    for part in text.split(";"):
        day, hour, minute, event = EVENT.fullmatch(part.strip()).groups()
        at = time(int(hour), int(minute)) if hour else time(12)
        yield datetime.combine(datetime.strptime(day, "%d %b %Y"), at, NAIROBI), event  # noqa: DTZ007  a date only


def make_plans():
    for name, price, fee, minimum, length, grace, late, visits, stacking, freeze_limits, hours in rows(
        "Plans of the examples"
    ):
        count, interval = length.split()
        opens, closes = (hours.split(" to ")) if " to " in hours else (None, None)
        PlanFactory(
            code=name.lower().replace(" ", "-"),
            name=name,
            price=int(price.replace(",", "")),
            joining_fee=int(fee.replace(",", "")),
            deposit_percent=int(minimum.rstrip("%")),
            interval=interval,
            interval_count=int(count),
            grace_days=int(grace.split()[0]),
            late_renewal=LATE[late],
            visits=None if visits == "unlimited" else int(visits),
            stacking_limit=int(stacking),
            max_freezes=int(freeze_limits.split(",")[0]),
            max_freeze_days=int(freeze_limits.split()[1]),
            opens_at=opens and time.fromisoformat(opens),
            closes_at=closes and time.fromisoformat(closes),
        )


class Story:
    """One member with two children, and an action for each phrase of the table."""

    def __init__(self):
        self.member = MemberFactory()
        self.children = dict(zip(("first child", "second child"), MemberFactory.create_batch(2), strict=True))

    def last_granted(self):
        return Subscription.objects.filter(fact="granted").latest("pk")

    def buys(self, plan, now, members=()):
        purchases.subscribe(
            member_ids=[member.pk for member in members or [self.member]],
            plan_code=Plan.objects.get(name=plan).code,
            payer_id=self.member.pk,
            phone=None,
            created_by_id=self.member.pk,
            now=now,
        )

    def buys_for_children(self, plan, now):
        self.buys(plan, now, members=self.children.values())

    def pays_with_one_code(self, amount, now):
        first = Payment.objects.get(head=None)
        message = C2bMessage(
            f"TKN{now:%d}FAM1LY"[:10], None, int(amount), "174379", first.reference, "", "", "Pay Bill", ""
        )
        c2b_confirmations.apply_c2b(message=message, now=now)

    def withdraws_consent(self, now):
        set_consent(self.member, False, now=now)
        self.member.save()

    def pays(self, plan, now):
        if plan != "it":
            self.buys(plan, now)
        pay(Payment.objects.latest("pk"), at=now)

    def pays_some(self, amount, now):
        pay_part(Payment.objects.latest("pk"), int(amount), at=now)

    def freezes_days(self, days, now, kind=FreezeKind.MEMBER):
        today = business_day(now)
        freezes.freeze(
            subscription_id=self.running_on(today).pk,
            starts_on=today,
            ends_on=today + timedelta(days=int(days)),
            kind=kind,
            by_id=self.member.pk,
            now=now,
        )

    def running_on(self, day):
        return Subscription.objects.running_on(day).get()

    def ends_freeze(self, now):
        freezes.unfreeze(subscription_id=self.running_on(business_day(now)).pk, by_id=self.member.pk, now=now)

    def frozen_by_staff(self, days, now):
        self.freezes_days(days, now, kind=FreezeKind.STAFF)

    def club_closes(self, days, now):
        today = business_day(now)
        freezes.create_closure(
            starts_on=today,
            ends_on=today + timedelta(days=int(days)),
            reason="Repairs",
            by_id=self.member.pk,
            now=now,
        )

    def upgrades(self, plan, now):
        plan_changes.upgrade(
            subscription_id=self.running_on(business_day(now)).pk,
            plan_code=Plan.objects.get(name=plan).code,
            phone=None,
            by_id=self.member.pk,
            now=now,
        )

    def changes(self, plan, now):
        plan_changes.change_at_end(
            subscription_id=self.last_granted().pk,
            plan_code=Plan.objects.get(name=plan).code,
            by_id=self.member.pk,
            now=now,
        )

    def leaves(self, now):
        purchases.cancel(subscription_id=self.last_granted().pk, by_id=self.member.pk, now=now)

    def undoes_leaving(self, now):
        plan_changes.undo_changes(subscription_id=self.last_granted().pk, by_id=self.member.pk, now=now)

    def has_payment_reversed(self, now):
        reverse_receipt(receipt_id=Receipt.objects.latest("pk").pk, reason="reversed", by_id=None, now=now)

    def enters(self, now):
        gate.check_in(member_number=self.member.member_number, recorded_by_id=None, now=now)

    ACTIONS = [
        (r"buys (.+) for two children", buys_for_children),
        (r"buys (.+)", buys),
        (r"pays KES (\d+) with one code", pays_with_one_code),
        (r"withdraws consent", withdraws_consent),
        (r"pays KES (\d+)", pays_some),
        (r"pays (.+)", pays),
        (r"freezes (\d+) days", freezes_days),
        (r"ends the freeze", ends_freeze),
        (r"is frozen by staff for (\d+) days", frozen_by_staff),
        (r"the club closes for (\d+) days", club_closes),
        (r"upgrades to (.+)", upgrades),
        (r"changes to (.+) at the end", changes),
        (r"leaves", leaves),
        (r"undoes leaving", undoes_leaving),
        (r"has the last payment reversed", has_payment_reversed),
        (r"enters", enters),
    ]

    def run(self, phrase, now):
        """Run the action of the phrase. Return "no: " and the error code if it is refused, else None."""
        for pattern, action in self.ACTIONS:
            if found := re.fullmatch(pattern, phrase):
                try:
                    action(self, *found.groups(), now=now)
                except DomainError as refusal:
                    return f"no: {refusal.code}"
                return None
        raise AssertionError(f"No action matches “{phrase}”.")

    def at_the_gate(self, now, member):
        """Return the answer of the gate, as the table writes it."""
        answer = gate.check_in(member_number=member.member_number, recorded_by_id=None, now=now)
        until = answer.until and f"{answer.until.day} {answer.until:%b %Y}"
        if answer.reason == "active":
            return f"let in until {until}" + (f", KES {answer.amount_to_pay} owed" if answer.amount_to_pay else "")
        if answer.reason == "grace":
            return f"grace until {until}, KES {answer.amount_to_pay} to pay"
        text = f"refused, {answer.reason.replace('_', ' ')}" + (f" until {until}" if until else "")
        return text + (f", KES {answer.amount_to_pay} to pay" if answer.amount_to_pay else "")

    def amount_of_new_payment(self):
        return f"must pay KES {Payment.objects.latest('pk').amount_owed}"


def test_examples_are_numbered():
    assert [example[0] for example in EXAMPLES] == [str(n) for n in range(1, 27)]


@pytest.mark.parametrize(("number", "rule", "dates", "expected"), EXAMPLES, ids=[example[1] for example in EXAMPLES])
def test_example(number, rule, dates, expected):
    make_plans()
    story = Story()
    actions = list(events(dates))

    for now, expected_answer in events(expected):
        answer = None
        while actions and actions[0][0] <= now:
            at, phrase = actions.pop(0)
            answer = story.run(phrase, now=at)
            if answer and expected_answer.startswith("no: "):
                break
        if expected_answer.startswith("must pay "):
            answer = story.amount_of_new_payment()
        elif not expected_answer.startswith("no: "):
            child = next((name for name in story.children if expected_answer.startswith(name)), "")
            answer = f"{child} {story.at_the_gate(now, story.children.get(child, story.member))}".strip()
        assert answer == expected_answer
    assert actions == []
