"""The page to close a day: its receipts, refunds and cash drawers, and the decisions that are still open.

The page is read-only. Each sum links to its rows, which can be exported there.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, Sum
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from api.admin.form_fields import DayField
from api.admin.pages import admin_page
from api.business_days import business_day, start_of_day
from api.clock import now
from config.admin_roles import DAY
from config.desk.actions.cash_sessions import count_result
from config.desk.dashboard import kes, list_url
from config.desk.sums import MONEY, Sums, sums_of
from payments.models import CashSession, Receipt, Refund, ReviewItem, ReviewStatus, VoidRequest

PAID_FROM = {"mpesa": "M-Pesa", "cash": "cash", "bank": "bank"}
# Reversals of older receipts are not shown: without this limit the query would read every receipt.
REVERSED_WITHIN = timedelta(days=31)


class DayForm(forms.Form):
    """The day to show."""

    on = DayField(label="Day")


@admin_page(DAY, "view")
@require_safe
def show_day(request) -> TemplateResponse:
    """Show the money of one day, `?on=2026-11-25`; today by default."""
    today = business_day(now())
    form = DayForm(request.GET if "on" in request.GET else {"on": today})
    on = form.cleaned_data["on"] if form.is_valid() else today
    begins = start_of_day(on)
    ends = begins + timedelta(days=1)
    sums = sums_of({"day": (begins, ends)})["day"]
    context = {
        **admin.site.each_context(request),
        "title": "Close the day",
        "form": form,
        "on": on,
        "before": on - timedelta(days=1),
        "after": on + timedelta(days=1) if on < today else None,
        "received": list(received(sums, begins, ends)),
        "returned": list(returned(sums, begins, ends)),
        "net": kes(sums.net),
        "reversals": reversals(begins, ends),
        "cash_sessions": list(cash_sessions(begins, ends)),
        "open_items": ReviewItem.objects.filter(status=ReviewStatus.OPEN).count(),
        "waiting_voids": VoidRequest.objects.filter(decided_at=None).count(),
    }
    return TemplateResponse(request, "desk/day.html", context)


def received(sums: Sums, begins: datetime, ends: datetime) -> Iterator[tuple[str, int, int, str]]:
    """Yield the receipts that were not reversed, by channel: label, KES, count and link. The sum comes last."""
    days = {"paid_at__gte": begins.isoformat(), "paid_at__lt": ends.isoformat(), "reversed_at__isnull": True}
    for channel, (total, count) in sums.received.items():
        yield MONEY[channel], total, count, list_url(Receipt, channel__exact=channel.value, **days)
    count = sum(count for _, count in sums.received.values())
    yield "Received", sums.gross, count, list_url(Receipt, channel__in=",".join(MONEY), **days)


def returned(sums: Sums, begins: datetime, ends: datetime) -> Iterator[tuple[str, int, int, str]]:
    """Yield the refunds by account: label, KES, count and link."""
    days = {"made_at__gte": begins.isoformat(), "made_at__lt": ends.isoformat()}
    for account, (total, count) in sums.refunded.items():
        yield f"Refunded by {PAID_FROM[account]}", total, count, list_url(Refund, paid_from__exact=account, **days)


def reversals(begins: datetime, ends: datetime) -> tuple[int, int]:
    """Return the KES and the number of the receipts reversed on the day; `received` leaves them out."""
    recent = Receipt.objects.filter(paid_at__gte=begins - REVERSED_WITHIN)
    reversed_ = recent.filter(reversed_at__gte=begins, reversed_at__lt=ends)
    found = reversed_.aggregate(total=Sum("amount", default=0), count=Count("pk"))
    return found["total"], found["count"]


def cash_sessions(begins: datetime, ends: datetime) -> Iterator[dict]:
    """Yield the cash sessions that were open on the day, each with its result; those not counted come first."""
    that_day = Q(opened_at__lt=ends) & (Q(closed_at=None) | Q(closed_at__gte=begins))
    found = CashSession.objects.filter(that_day).select_related("cashier")
    for session in found.order_by("closed_at", "pk").reverse():
        yield {"session": session, "result": count_result(session) if session.closed_at else "not counted yet"}
