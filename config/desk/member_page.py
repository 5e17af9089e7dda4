"""The member page: one member's periods, money, visits, freezes and security events, and the actions for them.

The roles table decides what the caller sees and does. A Trainer sees the member, periods, freezes and visits, but no
whole phone number and no money.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from django.contrib import admin, messages
from django.db.models import Case, F, Prefetch, Q, Sum, When
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST, require_safe

from accounts.models import CustomUser, SecurityEvent
from api.admin.pages import admin_page
from api.admin.roles import may, sees_phones
from api.admin.staff_actions import StaffAction, action_named, by_name
from api.business_days import business_day
from api.clock import now
from api.phones import masked
from config.admin_roles import MEMBER_PAGE
from config.desk.actions.base import day
from config.desk.actions.fields import open_payments
from config.desk.actions.lost_phones import LostPhoneForm
from config.desk.actions.money import PushForm, RefundForm, ReportedCodeForm, SellForm, TakeForm
from config.desk.actions.periods import FreePeriodForm, FreezeForm, UnfreezeForm
from config.desk.dashboard import list_url
from payments.daraja import result_codes
from payments.desk.receipt_pdf import PAID_BY
from payments.models import Account, Allocation, Payment, PaymentStatus, PushStatus, Receipt, StkPush
from payments.services import ledger
from subscriptions.models import Decision, Fact, Freeze, Origin, Subscription, Visit
from subscriptions.statuses import Status

# In the order of the page.
ACTIONS = by_name(
    *(SellForm, PushForm, TakeForm, ReportedCodeForm),
    *(FreezeForm, UnfreezeForm, FreePeriodForm),
    *(RefundForm, LostPhoneForm),
)
# The newest rows of each kind that the page shows. The lists of the admin show the rest.
MOST = 30
# Best first: the page shows the status of the best period of each group.
BEST_FIRST = (
    Status.ACTIVE,
    Status.GRACE,
    Status.FROZEN,
    Status.EXHAUSTED,
    Status.SCHEDULED,
    Status.PENDING,
    Status.EXPIRED,
    Status.REVOKED,
    Status.CANCELLED,
)
COLOURS: dict[str, str] = {
    Status.ACTIVE: "success",
    Status.GRACE: "warning",
    Status.FROZEN: "info",
    Status.EXHAUSTED: "warning",
    Status.SCHEDULED: "info",
    Status.PENDING: "warning",
    PaymentStatus.PAID: "success",
    PaymentStatus.FAILED: "danger",
    PaymentStatus.PROCESSING: "info",
    PaymentStatus.PARTIALLY_PAID: "warning",
    PushStatus.SUCCEEDED: "success",
    PushStatus.SENT: "info",
    PushStatus.TIMED_OUT: "warning",
    Decision.ALLOW: "success",
    Decision.DENY: "danger",
}


@dataclass(frozen=True)
class Badge:
    """A short text in a colour."""

    text: str
    colour: str


@dataclass(frozen=True)
class Line:
    """One row or event: its time or days, its text, and the link to its page."""

    when: datetime | str
    text: str
    link: str = ""
    badge: Badge | None = None
    note: str = ""
    under: list["Line"] = field(default_factory=list)
    pdf_url: str = ""  # of its receipt


@dataclass(frozen=True)
class Section:
    """The newest lines of one kind, with the link to all of them."""

    title: str
    lines: list[Line]
    link: str = ""


@dataclass(frozen=True)
class GroupStatus:
    """The status of the member's best period of one group."""

    group: str
    badge: Badge
    text: str


@admin_page(MEMBER_PAGE, "view")
@require_safe
def show_member(request, pk: int) -> TemplateResponse:
    """Show the page of one member."""
    return page_of(request, get_object_or_404(CustomUser, pk=pk))


@admin_page(MEMBER_PAGE)
@require_POST
def act_for_member(request, pk: int, name: str):
    """Perform one action, then show its outcome, or the form again with its errors."""
    member = get_object_or_404(CustomUser, pk=pk)
    form = form_of(name, request, member, request.POST)
    if form.run():
        messages.success(request, form.outcome)
        return redirect("member-page", pk)
    return page_of(request, member, tried=form)


def page_of(request, member: CustomUser, tried: StaffAction | None = None) -> TemplateResponse:
    """Return the page. The refused form `tried` is shown with its errors."""
    at = now()
    names = [name for name in ACTIONS if may(request.user, name, MEMBER_PAGE)]
    forms = [tried if tried and tried.name == name else form_of(name, request, member) for name in names]
    sees_money = may(request.user, "see_money", MEMBER_PAGE)
    periods = periods_of(member, business_day(at))
    context = {
        **admin.site.each_context(request),
        "title": member.get_full_name() or member.username,
        "member": member,
        "phone": member.phone_number
        if sees_phones(request.user) or not member.phone_number
        else masked(member.phone_number),
        "group_statuses": list(group_statuses(periods)),
        "figures": balances(member) if sees_money else [],
        "sections": list(sections(request.user, member, periods, sees_money=sees_money)),
        "actions": [form for form in forms if form.is_possible],
        "tried": tried,
    }
    return TemplateResponse(request, "desk/member_page.html", context)


def form_of(name: str, request, member: CustomUser, typed=None) -> StaffAction:
    """Return the form of an action, empty or as it was sent.

    :raises PermissionDenied: there is no such action
    """
    url = reverse("member-act", args=[member.pk, name])
    return action_named(name, ACTIONS)(typed, request=request, now=now(), subject=member, url=url)


# --- Status ---------------------------------------------------------------------------------------------------------


def periods_of(member: CustomUser, today: date) -> list[Subscription]:
    """Return the member's periods with their status today: first those that wait for money, then the latest end."""
    freezes = Freeze.objects.select_related("requested_by").order_by("starts_on", "pk")
    mine = Subscription.objects.filter(member=member).with_status(today)
    return list(
        mine.select_related("plan", "group", "payment__payer")
        .prefetch_related(Prefetch("freezes", freezes))
        .order_by(Case(When(fact=Fact.PENDING, then=0), default=1), F("ends_on").desc(nulls_last=True), "-pk")[:MOST]
    )


def group_statuses(periods: list[Subscription]) -> Iterator[GroupStatus]:
    """Yield the status of the best period of each group."""
    best: dict[int, Subscription] = {}
    for each in sorted(periods, key=lambda period: BEST_FIRST.index(period.status)):
        best.setdefault(each.group_id, each)
    for each in best.values():
        yield GroupStatus(each.group.name, badge_of(each.status), f"{each.plan.name}{end_of_status(each)}")


def end_of_status(period: Subscription) -> str:
    """Return the day on which the status of the period ends, or begins, in words."""
    if period.starts_on is None or period.ends_on is None:
        return ""
    if period.has_no_days:
        return f", replaced on {day(period.ends_on)}"
    last = period.ends_on - timedelta(days=1)
    if period.status == Status.SCHEDULED:
        return f", from {day(period.starts_on)}"
    if period.status == Status.GRACE:
        return f", let in until {day(last + timedelta(days=period.grace_days))}"
    return f", until {day(last)}"


def balances(member: CustomUser) -> list[tuple[str, str]]:
    """Return the member's debt and credit. An expired payment is no debt: the member may still pay it, but need not."""
    payments = open_payments(member.pk).exclude(status=PaymentStatus.EXPIRED).order_by()
    owed = payments.aggregate(total=Sum(F("amount_due") - F("amount_paid"), default=0))["total"]
    credit = -ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk)
    return [("Owes", f"KES {owed:,}"), ("Credit", f"KES {credit:,}")]


# --- Sections -------------------------------------------------------------------------------------------------------


def sections(user, member: CustomUser, periods: list[Subscription], *, sees_money: bool) -> Iterator[Section]:
    """Yield the sections that the caller may see. The number of queries does not depend on the number of rows."""
    found = {"q": member.member_number}
    if may(user, "view", Subscription):
        yield Section("Periods", [period_line(each) for each in periods], list_url(Subscription, **found))
    if sees_money and may(user, "view", Payment):
        yield Section("Payments", money_lines(member, periods), list_url(Payment, **found))
    if may(user, "view", Visit):
        visits = Visit.objects.filter(member=member).order_by("-at", "-pk")[:MOST]
        yield Section("Visits", [visit_line(each) for each in visits], list_url(Visit, **found))
    if may(user, "view", Freeze):
        freezes = [(each, period) for period in periods for each in period.freezes.all()]
        freezes.sort(key=lambda pair: pair[0].starts_on, reverse=True)
        yield Section("Freezes", [freeze_line(each, period) for each, period in freezes])
    if may(user, "view", SecurityEvent):
        events = SecurityEvent.objects.filter(user=member).select_related("actor").order_by("-at", "-pk")[:MOST]
        yield Section("Security events", [event_line(each) for each in events])


def period_line(period: Subscription) -> Line:
    days = "not begun"
    if period.starts_on and period.has_no_days:
        days = f"{day(period.starts_on)}, replaced the same day"
    elif period.starts_on and period.ends_on:
        days = f"{day(period.starts_on)} to {day(period.ends_on - timedelta(days=1))}"
    notes = [
        f"{period.visits_used} of {period.visits} visits used" if period.visits is not None else "",
        "free" if period.origin == Origin.GIFT else "",
        "imported" if period.origin == Origin.MIGRATED else "",
        "last period" if period.leaving_at else "",
        f"paid by {person(period.payment.payer)}" if period.payment.payer_id != period.member_id else "",
    ]
    return Line(
        days,
        period.plan.name,
        row_url(period),
        badge_of(period.status),
        "; ".join(filter(None, notes)),
    )


def visit_line(visit: Visit) -> Line:
    words = "Let in" if visit.decision == Decision.ALLOW else "Turned away"
    reason = visit.reason.replace("_", " ")
    return Line(visit.at, visit.gate or "Gate", row_url(visit), Badge(words, COLOURS[Decision(visit.decision)]), reason)


def freeze_line(freeze: Freeze, period: Subscription) -> Line:
    days = f"{day(freeze.starts_on)} to {day((freeze.ended_early_on or freeze.ends_on) - timedelta(days=1))}"
    if freeze.ended_early_on == freeze.starts_on:
        days = f"{day(freeze.starts_on)}, cancelled"
    ended = "ended early" if freeze.ended_early_on else ""
    notes = [freeze.reason, ended, f"by {person(freeze.requested_by)}"]
    return Line(days, period.plan.name, row_url(freeze), note="; ".join(filter(None, notes)))


def event_line(event: SecurityEvent) -> Line:
    notes = [f"by {person(event.actor)}" if event.actor else "", event.ip or ""]
    colour = "" if event.outcome == "ok" else "danger"
    text = event.event.replace("_", " ").capitalize()
    return Line(event.at, text, row_url(event), Badge(event.outcome, colour), "; ".join(filter(None, notes)))


# --- Money ----------------------------------------------------------------------------------------------------------


def money_lines(member: CustomUser, periods: list[Subscription]) -> list[Line]:
    """Return the payments, each with its pushes and receipts below it, and the receipts of no payment; newest first."""
    allocations = Allocation.objects.select_related("receipt__recorded_by").prefetch_related("receipt__refunds")
    payments = (
        Payment.objects.filter(Q(payer=member) | Q(pk__in=[each.payment_id for each in periods]))
        .select_related("created_by")
        .prefetch_related("pushes", Prefetch("allocations", allocations.order_by("pk")))
        .order_by("-created_at", "-pk")[:MOST]
    )
    lines = {payment: (payment.created_at, payment_line(payment)) for payment in payments}
    shown = {each.receipt_id for payment in lines for each in payment.allocations.all()}
    others = Receipt.objects.filter(member=member).exclude(pk__in=shown)
    newest = others.select_related("recorded_by").prefetch_related("refunds").order_by("-paid_at", "-pk")[:MOST]
    dated = [*lines.values(), *((each.paid_at, receipt_line(each)) for each in newest)]
    return [line for _, line in sorted(dated, key=lambda pair: pair[0], reverse=True)]


def payment_line(payment: Payment) -> Line:
    events = [(each.created_at, push_line(each)) for each in payment.pushes.all()]
    events += [(each.created_at, allocation_line(each)) for each in payment.allocations.all()]
    events.sort(key=lambda pair: pair[0])
    owed = f"KES {payment.amount_owed:,} still owed" if payment.amount_owed and payment.amount_paid else ""
    notes = [owed, f"created by {person(payment.created_by)}" if payment.created_by_id != payment.payer_id else ""]
    return Line(
        payment.created_at,
        f"{payment.reference}: KES {payment.amount_due:,} for {payment.description}",
        row_url(payment),
        badge_of(payment.status),
        "; ".join(filter(None, notes)),
        [line for _, line in events],
    )


def push_line(push: StkPush) -> Line:
    """Return a line for a push. An ended push has the sentence that the member reads, too."""
    text = f"STK push of KES {push.amount:,} to {masked(push.phone)}"
    note = result_codes.advice(push.result_code) if push.result_code else push.result_desc
    return Line(push.created_at, text, row_url(push), badge_of(push.status), note)


def allocation_line(allocation: Allocation) -> Line:
    """Return a line for the part of a receipt that a payment holds."""
    line = receipt_line(allocation.receipt)
    part = f"KES {allocation.amount:,} of it for this" if allocation.amount != allocation.receipt.amount else ""
    undone = f"removed on {day(localtime(allocation.undone_at).date())}" if allocation.undone_at else ""
    notes = "; ".join(filter(None, [part, undone, line.note]))
    return replace(line, note=notes)


def receipt_line(receipt: Receipt) -> Line:
    named = " ".join(filter(None, [receipt.get_channel_display(), receipt.number, receipt.code]))
    notes = [
        f"from {receipt.payer_name}" if receipt.payer_name else "",
        f"taken by {person(receipt.recorded_by)}" if receipt.recorded_by else "",
        *(f"KES {each.amount:,} refunded: {each.reason}" for each in receipt.refunds.all()),
        receipt.reversal_reason,
    ]
    badge = Badge("reversed", "danger") if receipt.reversed_at else Badge("received", "success")
    return Line(
        receipt.paid_at,
        f"KES {receipt.amount:,}, {named}",
        row_url(receipt),
        badge,
        "; ".join(filter(None, notes)),
        pdf_url=reverse("admin:payments_receipt_pdf", args=[receipt.pk]) if receipt.channel in PAID_BY else "",
    )


# --- Words ----------------------------------------------------------------------------------------------------------


def badge_of(status: str) -> Badge:
    return Badge(status.replace("_", " "), COLOURS.get(status, ""))


def person(user) -> str:
    return user.get_full_name() or user.username


def row_url(row) -> str:
    """Return the URL of the admin's page of a row."""
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])
