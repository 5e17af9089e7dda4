"""The dashboard: takings, visits, members and open tasks. Each figure links to the rows that it counts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Count, F, Min, Q, Sum
from django.db.models.functions import Coalesce, Greatest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe
from procrastinate.contrib.django.models import ProcrastinateJob

from api.admin.pages import admin_page
from api.admin.roles import may
from api.business_days import business_day, start_of_day
from api.clock import now
from config.admin_roles import TAKINGS
from config.desk.sums import MONEY, sums_of
from payments.models import OPEN_PUSH, Receipt, Refund, ReviewItem, ReviewReason, ReviewStatus, StkPush, VoidRequest
from subscriptions.models import Decision, Subscription, Visit

MEMBERS = "Members"
ENDINGS = 8  # the linked list shows all


def kes(amount: int) -> str:
    """Return whole shillings as people write them: KES 2,500, or -KES 300."""
    return f"{'-' if amount < 0 else ''}KES {abs(amount):,}"


@dataclass(frozen=True)
class Figure:
    """A number or an age, with its label and the link to its rows."""

    label: str
    value: int | timedelta | None
    link: str
    is_money: bool = False  # whole KES

    @property
    def text(self) -> str:
        """The value as people read it."""
        if self.value is None:
            return "none"
        if isinstance(self.value, timedelta):
            return f"{self.value // timedelta(minutes=1):,} min"
        return kes(self.value) if self.is_money else f"{self.value:,}"


@dataclass(frozen=True)
class Ending:
    """A member whose period ends soon."""

    name: str
    link: str
    plan: str
    last_day: date


@dataclass(frozen=True)
class Panel:
    """A box of the dashboard: figures with their total, or people with the link to all of them."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    total: Figure | None = None
    endings: list[Ending] | None = None
    link: str = ""
    is_tall: bool = False  # twice as tall as the others
    later: str = ""  # the URL that the browser loads the figures from, after the page


def add_figures(request, context: dict) -> dict:
    """Add the panels that the caller's role may see to the context of the admin's index page."""
    charts = reverse("charts") if may(request.user, "view", TAKINGS) else ""
    return {**context, "panels": list(panels_for(request.user, now())), "charts": charts}


def panels_for(user, at: datetime) -> Iterator[Panel]:
    """Return the panels that the user may see. The number of queries does not depend on the number of rows."""
    if may(user, "view", TAKINGS):
        yield from takings(at)
    if may(user, "view", Visit):
        yield visits_today(at)
    if may(user, "view", Subscription):
        yield Panel(MEMBERS, is_tall=True, later=reverse("members-today"))
        yield endings(at)
    waiting = [
        *(unmatched_money() if may(user, "view", ReviewItem) else []),
        *(voids_to_confirm(user) if may(user, "confirm", VoidRequest) else []),
        *(open_pushes() if may(user, "view", StkPush) else []),
        *(oldest_job(at) if may(user, "view", ProcrastinateJob) else []),
    ]
    if waiting:
        yield Panel("Waiting", waiting)


def takings(at: datetime) -> Iterator[Panel]:
    """Return the money of today, this week and this month: received, refunded and net. Weeks begin on Monday."""
    today = business_day(at)
    days = {"today": today, "this_week": today - timedelta(days=today.weekday()), "this_month": today.replace(day=1)}
    begins = {span: start_of_day(day) for span, day in days.items()}
    every = ",".join(channel.value for channel in MONEY)
    for span, sums in sums_of({span: (begin, None) for span, begin in begins.items()}).items():
        since = begins[span].isoformat()
        receipts = {"paid_at__gte": since, "reversed_at__isnull": True}
        figures = [
            Figure(
                label,
                sums.received.get(channel, (0, 0))[0],
                list_url(Receipt, channel__exact=channel.value, **receipts),
                is_money=True,
            )
            for channel, label in MONEY.items()
        ]
        received = list_url(Receipt, channel__in=every, **receipts)
        figures.append(Figure("Received", sums.gross, received, is_money=True))
        figures.append(Figure("Refunded", -sums.refunds, list_url(Refund, made_at__gte=since), is_money=True))
        yield Panel(f"Money {span.replace('_', ' ')}", figures, Figure("Net", sums.net, received, is_money=True))


def visits_today(at: datetime) -> Panel:
    """Return how many visits the gate allowed and denied today."""
    midnight = start_of_day(business_day(at))
    rows = Visit.objects.filter(at__gte=midnight).order_by().values("decision").annotate(count=Count("pk"))
    counts = {row["decision"]: row["count"] for row in rows}
    return Panel(
        "Visits today",
        [
            Figure(
                label,
                counts.get(decision, 0),
                list_url(Visit, decision__exact=decision.value, at__gte=midnight.isoformat()),
            )
            for decision, label in ((Decision.ALLOW, "Let in"), (Decision.DENY, "Turned away"))
        ],
    )


def endings(at: datetime) -> Panel:
    """Return the members whose period ends within a week and who have not renewed, the earliest end first."""
    due = Subscription.objects.in_renewal_state("due", business_day(at)).select_related("member", "plan")
    people = [
        Ending(
            each.member.get_full_name() or each.member.username,
            reverse("member-page", args=[each.member_id]),
            each.plan.name,
            each.ends_on - timedelta(days=1),
        )
        for each in due.order_by("ends_on", "pk")[:ENDINGS]
    ]
    return Panel("Ending this week", endings=people, link=list_url(Subscription, standing="due"), is_tall=True)


@admin_page(Subscription, "view")
@require_safe
def show_members(request) -> TemplateResponse:
    """Answer with the panel of members alone. Counting many members takes longer than the rest of the page."""
    return TemplateResponse(request, "desk/panel.html", {"panel": memberships(now())})


def memberships(at: datetime) -> Panel:
    """Return how many members have an active, frozen or ended period today."""
    labels = {
        "active": "Active",
        "grace": "In grace",
        "frozen": "Frozen",
        "lapsed": "Expired within 30 days",
        "due": "To renew within 7 days",
    }
    periods = [Subscription.objects.in_renewal_state(standing, business_day(at)) for standing in labels]
    counts = [each.order_by().values("member").distinct().count() for each in periods]
    return Panel(
        MEMBERS,
        [
            Figure(label, count, list_url(Subscription, standing=standing))
            for (standing, label), count in zip(labels.items(), counts, strict=True)
        ],
        is_tall=True,
    )


def unmatched_money() -> list[Figure]:
    """Return the total of unmatched money, in KES."""
    items = ReviewItem.objects.filter(status=ReviewStatus.OPEN, reason=ReviewReason.UNMATCHED)
    held = F("receipt__amount") - F("receipt__amount_refunded")
    total = items.filter(receipt__reversed_at__isnull=True).aggregate(total=Sum(held))["total"] or 0
    link = list_url(ReviewItem, status__exact="open", reason__exact="unmatched")
    return [Figure("Unmatched money", total, link, is_money=True)]


def voids_to_confirm(user) -> list[Figure]:
    """Return how many voids the user may confirm: not those of receipts that they recorded, or asked to void."""
    waiting = VoidRequest.objects.filter(decided_at=None).exclude(Q(asked_by=user) | Q(receipt__recorded_by=user))
    return [Figure("Voids to confirm", waiting.count(), reverse("cash-desk"))]


def open_pushes() -> list[Figure]:
    """Return how many STK pushes are open."""
    opened = StkPush.objects.filter(status__in=OPEN_PUSH).count()
    return [
        Figure("Open STK pushes", opened, list_url(StkPush, status__in=",".join(status.value for status in OPEN_PUSH)))
    ]


def oldest_job(at: datetime) -> list[Figure]:
    """Return the waiting time of the oldest due job; its value is None when no job is due."""
    due = ProcrastinateJob.objects.filter(Q(scheduled_at__isnull=True) | Q(scheduled_at__lte=at), status="todo")
    since = (
        due.order_by()
        .annotate(added=Min("procrastinateevent__at"))
        .annotate(since=Greatest(Coalesce("scheduled_at", "added"), "added"))
        .aggregate(oldest=Min("since"))["oldest"]
    )
    return [
        Figure(
            "Oldest waiting job",
            since and max(at - since, timedelta()),
            list_url(ProcrastinateJob, status__exact="todo"),
        )
    ]


def list_url(model, **lookups) -> str:
    """Return the URL of the admin's list of a model, filtered by `lookups`."""
    meta = model._meta
    return f"{reverse(f'admin:{meta.app_label}_{meta.model_name}_changelist')}?{urlencode(lookups)}"
