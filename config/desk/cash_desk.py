"""The cash desk of the admin: the caller's drawer, what was taken since it was opened, and what can be done there.

Each action calls one service (config/desk/actions), and the roles table decides access.
What a drawer should hold is not told before it is counted.
"""

from django.contrib import admin, messages
from django.db.models import Count, Q, Sum
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from api.admin.pages import admin_page
from api.admin.roles import may
from api.admin.staff_actions import StaffAction, action_named, by_name, report
from api.clock import now
from config.desk.actions.cash_sessions import (
    AskVoidForm,
    CloseForm,
    ConfirmVoidForm,
    DeclineVoidForm,
    OpenForm,
    count_result,
)
from config.desk.actions.money import ReportedCodeForm, TakeForm
from payments.models import CashSession, Channel, Receipt, Refund, VoidRequest

ACTIONS = by_name(OpenForm, TakeForm, ReportedCodeForm, AskVoidForm, CloseForm)
DECISIONS = by_name(ConfirmVoidForm, DeclineVoidForm)
# Of each kind of row the page shows, and the lists of the admin the rest.
MOST = 50
NEEDS_NO_DRAWER = ("take", "claim", "ask")


@admin_page(CashSession, "view")
@require_safe
def show_desk(request) -> TemplateResponse:
    """Show the caller's desk; `?receipt=` fills in the number of a receipt to void."""
    return page_of(request)


@admin_page(CashSession)
@require_POST
def act_at_desk(request, name: str):
    """Perform one action, then show its outcome, or the form again with its errors."""
    form = form_of(name, request, request.POST)
    if form.run():
        messages.success(request, form.outcome)
        return redirect("cash-desk")
    return page_of(request, tried=form)


@admin_page(VoidRequest)
@require_POST
def decide_void(request, pk: int, name: str):
    """Confirm or decline a void that another person asked for."""
    report(request, action_named(name, DECISIONS)(request.POST, request=request, now=now(), subject=pk))
    return redirect("cash-desk")


def page_of(request, tried: StaffAction | None = None) -> TemplateResponse:
    """Return the page; with a form that was tried and refused, that one with its errors."""
    mine = CashSession.objects.filter(cashier=request.user)
    drawer = mine.filter(closed_at=None).first()
    last = mine.exclude(closed_at=None).order_by("-pk").first()
    asked_for = request.GET.get("receipt", "")
    names = [*NEEDS_NO_DRAWER, "close"] if drawer else ["open", *NEEDS_NO_DRAWER]
    given = {"ask": {"number": asked_for}, "close": {"drawer": drawer and drawer.pk}}
    forms = [form_of(name, request, initial=given.get(name)) for name in names if may(request.user, name, CashSession)]
    if tried:
        # A drawer that was opened or closed meanwhile has no place for the form any more, but for why not.
        forms = [tried if form.name == tried.name else form for form in forms]
        if tried not in forms:
            messages.error(request, " ".join(map(str, tried.non_field_errors())) or "This was already done.")
    opened = tried.name if tried else "ask" if asked_for else "take" if drawer else "open"
    context = {
        **admin.site.each_context(request),
        "title": "Cash desk",
        "drawer": drawer,
        "last": last,
        "came_to": last and count_result(last),
        "figures": figures_of(drawer) if drawer else [],
        "receipts": newest_of(drawer) if drawer else [],
        "most": MOST,
        "voids": waiting_voids(request.user),
        "actions": forms,
        "opened": opened,
    }
    return TemplateResponse(request, "desk/cash_desk.html", context)


def form_of(name: str, request, typed=None, initial=None) -> StaffAction:
    """Return the form of an action, empty or as it was sent.

    :raises PermissionDenied: there is no such action
    """
    url = reverse("cash-desk-act", args=[name])
    return action_named(name, ACTIONS)(typed, request=request, now=now(), url=url, initial=initial)


def taken_at(drawer: CashSession):
    """Return the receipts of an open drawer: its cash, and the bank transfers its cashier noted since."""
    noted = Q(channel=Channel.BANK, recorded_by=drawer.cashier_id)
    return Receipt.objects.filter(noted | Q(cash_session=drawer), paid_at__gte=drawer.opened_at)


def figures_of(drawer: CashSession) -> list[tuple[str, str, int]]:
    """Return what came in and stands, by channel, and what was given back in cash: a name, the sum, how many."""
    live = taken_at(drawer).filter(reversed_at=None).order_by().values("channel")
    found = {row["channel"]: row for row in live.annotate(total=Sum("amount"), count=Count("pk"))}
    none = {"total": 0, "count": 0}
    back = Refund.objects.filter(cash_session=drawer).aggregate(total=Sum("amount", default=0), count=Count("pk"))
    rows = [("Cash", found.get(Channel.CASH, none)), ("Bank", found.get(Channel.BANK, none)), ("Refunds", back)]
    return [(label, f"KES {row['total']:,}", row["count"]) for label, row in rows if row["count"] or label != "Refunds"]


def newest_of(drawer: CashSession):
    """Return the newest receipts of an open drawer, voided ones too."""
    return taken_at(drawer).select_related("member").order_by("-paid_at", "-pk")[:MOST]


def waiting_voids(caller) -> list[dict]:
    """Return the voids that wait, oldest first, each with what the caller may do about it."""
    waiting = VoidRequest.objects.filter(decided_at=None).select_related("receipt__recorded_by", "asked_by")
    return [
        {"request": each, "decisions": decisions_on(each, caller), "is_mine": each.asked_by_id == caller.pk}
        for each in waiting.order_by("pk")[:MOST]
    ]


def decisions_on(asked: VoidRequest, caller) -> list[str]:
    """Return the names of what the caller may decide: whoever asked or took the money leaves confirming to another."""
    is_second = caller.pk not in (asked.asked_by_id, asked.receipt.recorded_by_id)
    return [name for name in DECISIONS if may(caller, name, VoidRequest) and (is_second or name == "decline")]
