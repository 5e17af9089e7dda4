"""The club of the world: its plans, members and staff, and what the world needs to read of the product's books."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model

from api.roles import Role
from payments.desk import review_decisions
from payments.models import Account, ReviewItem, ReviewReason, ReviewStatus
from payments.services import ledger
from subscriptions import gate
from subscriptions.models import Interval, LateRenewal, Plan, PlanGroup
from subscriptions.services import purchases
from world.book import Book


@dataclass(frozen=True)
class Member:
    """A member's row and phone, and the plan that they buy."""

    id: int
    number: str
    phone: str
    plan: Plan


def open_club() -> list[Plan]:
    """Create the plans, all of which open the gate."""
    group = PlanGroup.objects.create(name="Gym access")
    months = {"group": group, "interval": Interval.MONTHS}
    return [
        Plan.objects.create(code="monthly", name="Monthly", price=2500, grace_days=3, **months),
        Plan.objects.create(
            code="student", name="Student", price=1500, late_renewal=LateRenewal.FROM_EXPIRY, grace_days=5, **months
        ),
        Plan.objects.create(
            code="fortnight", name="Two weeks", price=900, group=group, interval="weeks", interval_count=2
        ),
    ]


def join(index: int, plan: Plan, now: datetime) -> Member:
    """Register a member at the desk, with a phone that staff entered."""
    person = get_user_model().objects.create_user(
        username=f"world{index}",
        first_name=f"Asha{index}",
        last_name="Wanjiru",
        phone_number=f"2547{index:08d}",
        consented_at=now,
    )
    return Member(id=person.pk, number=person.member_number, phone=person.phone_number, plan=plan)


def hire(now: datetime) -> int:
    """Register the manager, and return the id."""
    return get_user_model().objects.create_user(username="manager", role=Role.MANAGER, consented_at=now).pk


def tap(member: Member, now: datetime) -> gate.Answer:
    """Let the member tap at the gate."""
    return gate.check_in(member_number=member.number, recorded_by_id=None, now=now)


def order(member: Member, now: datetime) -> tuple[int, str]:
    """Order the member's plan without a push; return the amount owed and the account to pay it to."""
    bought = purchases.subscribe(
        member_ids=[member.id],
        plan_code=member.plan.code,
        payer_id=member.id,
        phone=None,
        created_by_id=member.id,
        now=now,
    )
    payment = bought.subscription.payment
    return payment.amount_owed, payment.reference


def credit(member: Member) -> int:
    """Return the member's credit in KES."""
    return -ledger.balance(Account.MEMBER_CREDIT, member_id=member.id)


def assign_unmatched(book: Book, *, by_id: int, now: datetime) -> int:
    """Assign the unmatched money as its payers meant it: they have called the desk. Return how many."""
    items = ReviewItem.objects.filter(reason=ReviewReason.UNMATCHED, status=ReviewStatus.OPEN)
    found = list(items.select_related("receipt").order_by("pk"))
    for item in found:
        money = book.money[item.receipt.code]
        review_decisions.assign_money(item_id=item.pk, member_id=money.meant_for, by_id=by_id, now=now)
    return len(found)
