"""Admin pages of money: every row is read-only, and a review item has actions.

Services alone move money. Each action makes the same call of a service as the API.
"""

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.postgres.aggregates import ArrayAgg
from django.core.exceptions import PermissionDenied
from django.db.models import Func, OuterRef, Subquery, TextField, Value
from django.http import Http404, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html

from api.admin.base import Exportable, ReadOnlyAdmin, ReadOnlyInline, kes
from api.admin.exports import Column
from api.admin.roles import may
from api.admin.staff_actions import StaffAction, report
from api.clock import now
from api.phones import masked
from payments import models
from payments.desk import review_decisions, voids
from payments.desk.suggestions import suggest_owners
from payments.forms import REVIEW_ACTIONS, TaxNumberForm
from payments.permissions import sees_code, without_hidden_code
from payments.views.receipt_pdf import as_pdf


class EventInline(ReadOnlyInline):
    model = models.PaymentEvent
    fields = ["at", "from_status", "to_status", "evidence", "by"]
    list_select_related = ["by"]


class AllocationInline(ReadOnlyInline):
    model = models.Allocation
    fields = ["receipt", "payment", "amount", "rule", "made_by", "created_at", "undone_at", "undone_by"]
    list_select_related = ["receipt", "payment", "made_by", "undone_by"]

    def get_queryset(self, request):
        """Hide unmatched receipts from callers who may not assign them: their codes are worth money."""
        rows = super().get_queryset(request)
        return rows if may(request.user, "assign", models.ReviewItem) else rows.exclude(receipt__member=None)


class TaxNumberInline(ReadOnlyInline):
    model = models.TaxNumber
    fields = ["number", "noted_by", "noted_at"]
    list_select_related = ["noted_by"]


class LedgerInline(ReadOnlyInline):
    model = models.LedgerEntry
    fields = ["at", "transaction", "account", "member", "amount", "payment", "made_by"]
    list_select_related = ["member", "payment", "made_by"]


@admin.register(models.Payment)
class PaymentAdmin(Exportable, ReadOnlyAdmin):
    list_display = [
        "reference",
        "payer",
        "description",
        kes("amount_due"),
        kes("amount_paid"),
        "status",
        "created_at",
        "paid_at",
    ]
    list_filter = ["status"]
    list_select_related = ["payer"]
    search_fields = ["reference", "payer__username", "payer__member_number"]
    export_columns = [
        Column("reference", "reference"),
        Column("member number", "payer__member_number"),
        Column("first name", "payer__first_name"),
        Column("last name", "payer__last_name"),
        Column("description", "description"),
        Column("amount due (KES)", "amount_due"),
        Column("amount paid (KES)", "amount_paid"),
        Column("status", "status"),
        Column("created at (Nairobi)", "created_at"),
        Column("paid at (Nairobi)", "paid_at"),
        Column("opened by", "created_by__username"),
    ]
    inlines = [EventInline, AllocationInline]


@admin.register(models.StkPush)
class StkPushAdmin(ReadOnlyAdmin):
    list_display = ["payment", "masked_phone", kes("amount"), "status", "result_code", "result_desc", "created_at"]
    list_filter = ["status"]
    list_select_related = ["payment"]
    search_fields = ["payment__reference", "checkout_request_id"]
    exclude = ["phone", "token_hash"]
    readonly_fields = ["masked_phone"]
    phone_fields = ["checkout_request_id"]

    @admin.display(description="phone")
    def masked_phone(self, push):
        return masked(push.phone)


def payments_of_a_receipt() -> Subquery:
    """Return the references of the payments that hold the receipt's money, separated by blanks."""
    live = models.Allocation.objects.filter(receipt=OuterRef("pk"), undone_at=None)
    each = ArrayAgg("payment__reference", order_by="pk")
    references = Func(each, Value(" "), function="array_to_string", output_field=TextField())
    return Subquery(live.order_by().values("receipt").annotate(references=references).values("references"))


def tax_number_of_a_receipt() -> Subquery:
    """Return the newest tax control number of a receipt."""
    return Subquery(models.TaxNumber.objects.filter(receipt=OuterRef("pk")).order_by("-pk").values("number")[:1])


@admin.register(models.Receipt)
class ReceiptAdmin(Exportable, ReadOnlyAdmin):
    list_display = ["__str__", "channel", kes("amount"), "paid_at", "payer_name", "member", "reversed_at"]
    list_filter = ["channel"]
    list_select_related = ["member"]
    search_fields = ["code", "number", "member__member_number"]
    link_filters = ["paid_at", "reversed_at"]
    phone_fields = ["sender", "account_typed", "invoice_typed"]
    fields = [
        "number", "code", "channel", "amount", "cents", "amount_refunded", "paid_at", "member", "payer_name", "sender",
        "account_typed", "invoice_typed", "recorded_by", "cash_session", "push", "push_guessed", "created_at",
        "reversed_at", "reversed_by", "reversal_reason",
    ]  # fmt: skip
    export_columns = [
        Column("number", "number"),
        Column("M-Pesa code", "code"),
        Column("channel", "channel"),
        Column("amount (KES)", "amount"),
        Column("refunded (KES)", "amount_refunded"),
        Column("paid at (Nairobi)", "paid_at"),
        Column("payer", "payer_name"),
        Column("member number", "member__member_number"),
        Column("first name", "member__first_name"),
        Column("last name", "member__last_name"),
        Column("payment references", payments_of_a_receipt()),
        Column("account typed", "account_typed"),
        Column("recorded by", "recorded_by__username"),
        Column("tax control number", tax_number_of_a_receipt()),
        Column("reversed at (Nairobi)", "reversed_at"),
        Column("reversed by", "reversed_by__username"),
        Column("reason of reversal", "reversal_reason"),
    ]
    ordering = ["-paid_at", "-pk"]
    inlines = [AllocationInline, LedgerInline, TaxNumberInline]
    change_form_outer_before_template = "payments/receipt_links.html"

    def get_urls(self):
        inside = self.admin_site.admin_view
        return [
            path("<int:pk>/pdf/", inside(self.show_pdf), name="payments_receipt_pdf"),
            path("<int:pk>/tax-number/", inside(self.save_tax_number), name="payments_receipt_tax_number"),
            *super().get_urls(),
        ]

    def get_object(self, request, object_id, from_field=None):
        receipt = super().get_object(request, object_id, from_field)
        return receipt and without_hidden_code(receipt, request.user)

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        changelist.result_list = [without_hidden_code(each, request.user) for each in changelist.result_list]
        return changelist

    def show_pdf(self, request, pk):
        """Answer with the PDF of the receipt."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        receipt = self.get_queryset(request).filter(pk=pk).first()
        if receipt is None or not sees_code(receipt, request.user):
            raise Http404
        return as_pdf(receipt)

    def save_tax_number(self, request, pk):
        """Store the number that the tax device printed, and show the outcome on the receipt's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, "tax"):
            raise PermissionDenied
        if not self.get_queryset(request).filter(pk=pk).exists():
            raise Http404
        form = TaxNumberForm(request.POST, request=request, now=now(), subject=pk)
        report(request, form)
        return redirect("admin:payments_receipt_change", pk)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Show the receipt, with links to its PDF, and to the cash desk if the caller may ask for its void."""
        receipt = self.get_object(request, unquote(object_id))
        has_pdf = bool(receipt) and sees_code(receipt, request.user)
        extra = {
            "has_pdf": has_pdf,
            "tax_form": TaxNumberForm(request=request, now=now()) if has_pdf and self.may(request, "tax") else None,
            "voidable": bool(receipt)
            and receipt.channel in voids.VOIDABLE
            and receipt.reversed_at is None
            and may(request.user, "ask", models.CashSession),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})


@admin.register(models.LedgerEntry)
class LedgerEntryAdmin(Exportable, ReadOnlyAdmin):
    list_display = ["at", "account", kes("amount"), "member", "receipt", "payment", "transaction"]
    list_filter = ["account"]
    list_select_related = ["member", "receipt", "payment"]
    export_columns = [
        Column("entry", "pk"),
        Column("at (Nairobi)", "at"),
        Column("transaction", "transaction"),
        Column("account", "account"),
        Column("member number", "member__member_number"),
        Column("amount (KES, debit positive)", "amount"),
        Column("receipt", "receipt_id"),
        Column("receipt number", "receipt__number"),
        Column("M-Pesa code", "receipt__code"),
        Column("payment reference", "payment__reference"),
        Column("made by", "made_by__username"),
    ]


@admin.register(models.Callback)
class CallbackAdmin(ReadOnlyAdmin):
    list_display = ["received_at", "source", "outcome", "error", "attempts"]
    list_filter = ["source", "outcome"]
    exclude = ["body"]  # it holds whole phone numbers
    readonly_fields = ["size"]

    @admin.display(description="bytes")
    def size(self, callback):
        return len(callback.body)


@admin.register(models.ReviewItem)
class ReviewItemAdmin(ReadOnlyAdmin):
    """Review items: unmatched payments and other money that staff must check, with the actions to resolve them."""

    list_display = [
        "created_at",
        "detail",
        "status",
        "money_in_words",
        "payment",
        "resolved_by",
        "resolution",
    ]
    list_display_links = ["detail"]
    list_filter = ["status", "reason"]
    list_select_related = ["receipt", "payment", "resolved_by"]
    search_fields = ["receipt__code", "payment__reference"]
    exclude = ["receipt", "suggested_members"]
    readonly_fields = ["money"]
    change_form_outer_before_template = "payments/review_item_actions.html"

    @admin.display(description="money")
    def money_in_words(self, item):
        """Describe the receipt in one line. It is no link: the one link of a row leads to the item."""
        receipt = item.receipt
        if receipt is None:
            return None
        named = f"KES {receipt.amount:,} {receipt}"
        sender = f"from {receipt.payer_name}" if receipt.payer_name else ""
        account = f"to “{receipt.account_typed}”" if receipt.account_typed else ""
        invoice = f"invoice “{receipt.invoice_typed}”" if receipt.invoice_typed else ""
        return " ".join(filter(None, [named, sender, account, invoice]))

    @admin.display(description="money")
    def money(self, item):
        """Describe the receipt in one line, as a link to it."""
        if item.receipt is None:
            return None
        address = reverse("admin:payments_receipt_change", args=[item.receipt.pk])
        return format_html('<a class="text-primary-600" href="{}">{}</a>', address, self.money_in_words(item))

    def get_urls(self):
        actions = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(self.perform_action),
                {"name": name},
                name=f"payments_reviewitem_{name}",
            )
            for name in REVIEW_ACTIONS
        ]
        return [*actions, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Show the item, its possible owners, and what the caller may do about it."""
        item = self.get_object(request, unquote(object_id))
        extra = {}
        if item and self.has_view_permission(request, item):
            actions = self.actions_for(request, item)
            extra = {
                "actions": actions,
                "suggestions": suggest_owners(item) if any(form.name == "assign" for form in actions) else [],
                "next_item": self.next_after(item),
                "money": self.money(item),
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def actions_for(self, request, item) -> list[StaffAction]:
        """Return the empty forms of what the caller may do about the item."""
        names = ["undo"] if review_decisions.is_undoable(item) else []
        if item.reason == models.ReviewReason.UNMATCHED and item.status != models.ReviewStatus.RESOLVED:
            names = ["assign", "sent_back"]  # the owner may ask after the item was dismissed
        if item.reason == models.ReviewReason.AMOUNT_WITH_CENTS and item.status != models.ReviewStatus.RESOLVED:
            names = ["take"]
        if item.status == models.ReviewStatus.OPEN:
            is_doubt = item.reason == models.ReviewReason.POSSIBLE_DOUBLE
            names += ["same_money", "other_money"] if is_doubt else ["dismiss"]
        return [REVIEW_ACTIONS[name](request=request, now=now()) for name in names if self.may(request, name)]

    def next_after(self, item) -> models.ReviewItem | None:
        """Return the next older open item; after the oldest, the newest."""
        waiting = models.ReviewItem.objects.filter(status=models.ReviewStatus.OPEN).exclude(pk=item.pk)
        newest_first = waiting.order_by("-created_at", "-pk")
        return newest_first.filter(created_at__lte=item.created_at).first() or newest_first.first()

    def perform_action(self, request, pk, name):
        """Perform one action, and show its outcome or its errors on the item's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, name):
            raise PermissionDenied
        form = REVIEW_ACTIONS[name](request.POST, request=request, now=now(), subject=pk)
        report(request, form)
        return redirect("admin:payments_reviewitem_change", pk)


@admin.register(models.CashSession)
class CashSessionAdmin(ReadOnlyAdmin):
    list_display = [
        "cashier",
        "opened_at",
        kes("opening_float"),
        "closed_at",
        kes("expected"),
        kes("counted"),
        kes("difference"),
    ]
    list_select_related = ["cashier"]


@admin.register(models.VoidRequest)
class VoidRequestAdmin(ReadOnlyAdmin):
    list_display = ["receipt", "reason", "asked_by", "asked_at", "decided_by", "decided_at", "is_confirmed"]
    list_filter = ["is_confirmed"]
    list_select_related = ["receipt", "asked_by", "decided_by"]
    search_fields = ["receipt__number"]


@admin.register(models.CodeClaim)
class CodeClaimAdmin(ReadOnlyAdmin):
    list_display = ["code", "payment", "claimed_by", "claimed_at", "receipt", "ended_why"]
    list_select_related = ["payment", "claimed_by", "receipt"]
    search_fields = ["code", "payment__reference"]


@admin.register(models.CodeCheck)
class CodeCheckAdmin(ReadOnlyAdmin):
    list_display = ["code", "status", "said", "asked_by", "created_at", "ended_at", "receipt"]
    list_filter = ["status"]
    list_select_related = ["asked_by", "receipt"]
    search_fields = ["code"]
    exclude = ["token_hash"]


@admin.register(models.Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ["receipt", kes("amount"), "paid_from", "reason", "made_by", "made_at"]
    list_filter = ["paid_from"]
    link_filters = ["made_at"]
    list_select_related = ["receipt", "made_by"]
    search_fields = ["receipt__code", "receipt__number"]
