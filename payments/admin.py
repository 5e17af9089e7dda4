"""Payments in the admin: everything may be read, nothing may be changed here.

Money moves by services alone: history, ledger, receipts and callbacks have no form, no delete and no action.
"""

from django.contrib import admin

from api.admin import ReadOnlyAdmin, ReadOnlyInline
from api.phones import masked
from payments import models


class EventInline(ReadOnlyInline):
    model = models.PaymentEvent
    fields = ["at", "from_status", "to_status", "evidence", "by"]
    list_select_related = ["by"]


class AllocationInline(ReadOnlyInline):
    model = models.Allocation
    fields = ["receipt", "payment", "amount", "rule", "made_by", "created_at", "undone_at", "undone_by"]
    list_select_related = ["receipt", "payment", "made_by", "undone_by"]


class LedgerInline(ReadOnlyInline):
    model = models.LedgerEntry
    fields = ["at", "transaction", "account", "member", "amount", "payment", "made_by"]
    list_select_related = ["member", "payment", "made_by"]


@admin.register(models.Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ["reference", "payer", "description", "amount_due", "amount_paid", "status", "created_at", "paid_at"]
    list_filter = ["status"]
    list_select_related = ["payer"]
    search_fields = ["reference", "payer__username", "payer__member_number"]
    inlines = [EventInline, AllocationInline]


@admin.register(models.StkPush)
class StkPushAdmin(ReadOnlyAdmin):
    list_display = ["pk", "payment", "masked_phone", "amount", "status", "result_code", "result_desc", "created_at"]
    list_filter = ["status"]
    list_select_related = ["payment"]
    search_fields = ["payment__reference", "checkout_request_id"]
    exclude = ["phone", "token_hash"]
    readonly_fields = ["masked_phone"]

    @admin.display(description="phone")
    def masked_phone(self, push):
        return masked(push.phone)


@admin.register(models.Receipt)
class ReceiptAdmin(ReadOnlyAdmin):
    list_display = ["pk", "number", "code", "channel", "amount", "paid_at", "payer_name", "member", "reversed_at"]
    list_filter = ["channel"]
    list_select_related = ["member"]
    search_fields = ["code", "number", "member__member_number"]
    ordering = ["-paid_at", "-pk"]
    inlines = [AllocationInline, LedgerInline]


@admin.register(models.LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ["pk", "at", "transaction", "account", "member", "amount", "receipt", "payment"]
    list_filter = ["account"]
    list_select_related = ["member", "receipt", "payment"]


@admin.register(models.Callback)
class CallbackAdmin(ReadOnlyAdmin):
    list_display = ["pk", "source", "received_at", "outcome", "error", "attempts"]
    list_filter = ["source", "outcome"]
    exclude = ["body"]  # it holds whole phone numbers
    readonly_fields = ["size"]

    @admin.display(description="bytes")
    def size(self, callback):
        return len(callback.body)


@admin.register(models.ReviewItem)
class ReviewItemAdmin(ReadOnlyAdmin):
    list_display = ["pk", "created_at", "reason", "detail", "status", "receipt", "payment", "resolved_by", "resolution"]
    list_filter = ["status", "reason"]
    list_select_related = ["receipt", "payment", "resolved_by"]


@admin.register(models.CashSession)
class CashSessionAdmin(ReadOnlyAdmin):
    list_display = ["pk", "cashier", "opened_at", "opening_float", "closed_at", "expected", "counted", "difference"]
    list_select_related = ["cashier"]


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
    list_display = ["pk", "receipt", "amount", "paid_from", "reason", "made_by", "made_at"]
    list_filter = ["paid_from"]
    list_select_related = ["receipt", "made_by"]
    search_fields = ["receipt__code", "receipt__number"]
