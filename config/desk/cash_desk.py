"""The cash desk: the caller's cash drawer, the receipts since it was opened, and the actions of the desk.

Each action calls one service (config/desk/actions), and the roles table decides access.
The page does not show the expected cash before the drawer is counted.
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
# The newest rows of each kind that the page shows. The lists of the admin show the rest.
MOST = 50
WITHOUT_SESSION = ("take", "claim", "ask")


@admin_page(CashSession, "view")
@require_safe
def show_desk(request) -> TemplateResponse:
    """Show the page; `?receipt=` fills in the number of a receipt to void."""
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
    """Confirm or decline a void request."""
    report(request, action_named(name, DECISIONS)(request.POST, request=request, now=now(), subject=pk))
    return redirect("cash-desk")


def page_of(request, tried: StaffAction | None = None) -> TemplateResponse:
    """Return the page. The refused form `tried` is shown with its errors."""
    mine = CashSession.objects.filter(cashier=request.user)
    session = mine.filter(closed_at=None).first()
    last = mine.exclude(closed_at=None).order_by("-pk").first()
    number = request.GET.get("receipt", "")
    names = [*WITHOUT_SESSION, "close"] if session else ["open", *WITHOUT_SESSION]
    initial = {"ask": {"number": number}, "close": {"session": session and session.pk}}
    forms = [
        form_of(name, request, initial=initial.get(name)) for name in names if may(request.user, name, CashSession)
    ]
    if tried:
        # A form to open or close the drawer is not on the page after another request did so: show only its errors.
        forms = [tried if form.name == tried.name else form for form in forms]
        if tried not in forms:
            messages.error(request, " ".join(map(str, tried.non_field_errors())) or "This was already done.")
    opened = tried.name if tried else "ask" if number else "take" if session else "open"
    context = {
        **admin.site.each_context(request),
        "title": "Cash desk",
        "session": session,
        "last": last,
        "last_result": last and count_result(last),
        "figures": figures_of(session) if session else [],
        "receipts": newest_receipts(session) if session else [],
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


def receipts_of(session: CashSession):
    """Return the receipts of an open session: its cash, and the bank transfers that its cashier recorded since."""
    transfers = Q(channel=Channel.BANK, recorded_by=session.cashier_id)
    return Receipt.objects.filter(transfers | Q(cash_session=session), paid_at__gte=session.opened_at)


def figures_of(session: CashSession) -> list[tuple[str, str, int]]:
    """Return the live receipts by channel, and the cash refunds: label, sum and count."""
    live = receipts_of(session).filter(reversed_at=None).order_by().values("channel")
    found = {row["channel"]: row for row in live.annotate(total=Sum("amount"), count=Count("pk"))}
    none = {"total": 0, "count": 0}
    refunds = Refund.objects.filter(cash_session=session).aggregate(total=Sum("amount", default=0), count=Count("pk"))
    rows = [("Cash", found.get(Channel.CASH, none)), ("Bank", found.get(Channel.BANK, none)), ("Refunds", refunds)]
    return [(label, f"KES {row['total']:,}", row["count"]) for label, row in rows if row["count"] or label != "Refunds"]


def newest_receipts(session: CashSession):
    """Return the newest receipts of an open session, voided ones too."""
    return receipts_of(session).select_related("member").order_by("-paid_at", "-pk")[:MOST]


def waiting_voids(caller) -> list[dict]:
    """Return the open void requests, oldest first, each with the decisions that the caller may take."""
    waiting = VoidRequest.objects.filter(decided_at=None).select_related("receipt__recorded_by", "asked_by")
    return [
        {"request": each, "decisions": decisions_on(each, caller), "is_mine": each.asked_by_id == caller.pk}
        for each in waiting.order_by("pk")[:MOST]
    ]


def decisions_on(asked: VoidRequest, caller) -> list[str]:
    """Return the decisions that the caller may take. Only a second person may confirm: not who asked or recorded."""
    is_second = caller.pk not in (asked.asked_by_id, asked.receipt.recorded_by_id)
    return [name for name in DECISIONS if may(caller, name, VoidRequest) and (is_second or name == "decline")]
