"""One business day's money on one page of the admin, to close it by: what came and went, and what is still open.

It only reads. Each sum leads to the rows behind it, from where they are exported.
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
from config.desk.dashboard import MONEY, rows_of
from payments.models import CashSession, Channel, Receipt, Refund, ReviewItem, ReviewStatus, VoidRequest

PAID_FROM = {"mpesa": "M-Pesa", "cash": "cash", "bank": "bank"}
# A receipt that is reversed later than this after it came is not looked for among all there ever were.
REVERSED_WITHIN = timedelta(days=31)


class DayForm(forms.Form):
    """Which day; today without one."""

    on = DayField(label="Day")


@admin_page(DAY, "view")
@require_safe
def show_day(request) -> TemplateResponse:
    """Show a day's money, `?on=2026-11-25`."""
    today = business_day(now())
    form = DayForm(request.GET if "on" in request.GET else {"on": today})
    on = form.cleaned_data["on"] if form.is_valid() else today
    begins = start_of_day(on)
    ends = begins + timedelta(days=1)
    context = {
        **admin.site.each_context(request),
        "title": "Close the day",
        "form": form,
        "on": on,
        "before": on - timedelta(days=1),
        "after": on + timedelta(days=1) if on < today else None,
        "came": list(came(begins, ends)),
        "went": list(went(begins, ends)),
        "drawers": list(drawers(begins, ends)),
        "open_items": ReviewItem.objects.filter(status=ReviewStatus.OPEN).count(),
        "waiting_voids": VoidRequest.objects.filter(decided_at=None).count(),
    }
    return TemplateResponse(request, "desk/day.html", context)


def came(begins: datetime, ends: datetime) -> Iterator[tuple[str, int, int, str]]:
    """Return what came in and was not reversed: how, KES, how many, and where the rows are; all together last."""
    live = Receipt.objects.filter(paid_at__gte=begins, paid_at__lt=ends, reversed_at=None, channel__in=MONEY)
    sums = list(live.order_by("channel").values("channel").annotate(total=Sum("amount"), count=Count("pk")))
    days = {"paid_at__gte": begins.isoformat(), "paid_at__lt": ends.isoformat(), "reversed_at__isnull": True}
    for row in sums:
        address = rows_of(Receipt, channel__exact=row["channel"], **days)
        yield MONEY[Channel(row["channel"])], row["total"], row["count"], address
    together = sum(row["total"] for row in sums), sum(row["count"] for row in sums)
    yield "Total", *together, rows_of(Receipt, channel__in=",".join(MONEY), **days)


def went(begins: datetime, ends: datetime) -> Iterator[tuple[str, int, int]]:
    """Return what was given back, and the voided or reversed, which `came` leaves out: how, KES, how many."""
    refunds = Refund.objects.filter(made_at__gte=begins, made_at__lt=ends).order_by("paid_from").values("paid_from")
    for row in refunds.annotate(total=Sum("amount"), count=Count("pk")):
        yield f"Refunded by {PAID_FROM[row['paid_from']]}", row["total"], row["count"]
    recent = Receipt.objects.filter(paid_at__gte=begins - REVERSED_WITHIN)
    reversed_ = recent.filter(reversed_at__gte=begins, reversed_at__lt=ends)
    total, count = reversed_.aggregate(total=Sum("amount"), count=Count("pk")).values()
    if count:
        yield "Voided or reversed, not in the sum above", total, count


def drawers(begins: datetime, ends: datetime) -> Iterator[dict]:
    """Return the drawers that were open that day, each with what its count came to; those not counted first."""
    that_day = Q(opened_at__lt=ends) & (Q(closed_at=None) | Q(closed_at__gte=begins))
    found = CashSession.objects.filter(that_day).select_related("cashier")
    for session in found.order_by("closed_at", "pk").reverse():
        yield {"session": session, "came_to": count_result(session) if session.closed_at else "not counted yet"}
