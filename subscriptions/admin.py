"""Admin of memberships. Plans and plan groups can be changed here; subscriptions, freezes and visits are read-only."""

from datetime import date, timedelta

from django.contrib import admin

from api.admin.base import ChangeableAdmin, Exportable, ReadOnlyAdmin, kes
from api.admin.exports import Column
from api.business_days import business_day
from api.clock import now
from subscriptions.models import Closure, Freeze, Plan, PlanGroup, Subscription, Visit
from subscriptions.periods import months_after
from subscriptions.services import catalog


@admin.display(description="last day")
def last_day(row):
    """Return the last day of the row: the day before its `ends_on`; None if it has no days."""
    has_days = row.ends_on and row.ends_on > row.starts_on
    return row.ends_on - timedelta(days=1) if has_days else None


class CatalogAdmin(ChangeableAdmin):
    """Base of the admins of the price list. They save through the catalog services, and only the changed fields."""

    def create(self, **fields):
        raise NotImplementedError

    def edit(self, pk: int, **fields):
        raise NotImplementedError

    def save_model(self, request, obj, form, change):
        author = {"by_id": request.user.pk, "now": now()}
        if change:
            self.edit(obj.pk, **author, **{name: form.cleaned_data[name] for name in form.changed_data})
            obj.refresh_from_db()
        else:
            obj.pk = self.create(**author, **form.cleaned_data).pk


@admin.register(PlanGroup)
class PlanGroupAdmin(CatalogAdmin):
    list_display = ["name", "opens_gate"]

    def create(self, **fields):
        return catalog.create_plan_group(**fields)

    def edit(self, pk, **fields):
        return catalog.edit_plan_group(group_id=pk, **fields)


@admin.register(Plan)
class PlanAdmin(CatalogAdmin):
    list_display = ["name", "code", "group", kes("price"), "interval_count", "interval", "is_on_sale"]
    list_filter = ["group", "is_on_sale"]
    list_select_related = ["group"]
    search_fields = ["name", "code"]

    def create(self, **fields):
        return catalog.create_plan(**fields)

    def edit(self, pk, **fields):
        return catalog.edit_plan(plan_id=pk, **fields)


class StatusTodayFilter(admin.SimpleListFilter):
    """Periods by their status today, or by what staff follow up. Both are computed, not stored."""

    title, parameter_name = "status today", "standing"

    def lookups(self, request, model_admin):
        return [
            ("active", "active"),
            ("grace", "in grace"),
            ("frozen", "frozen"),
            ("lapsed", "expired within 30 days"),
            ("due", "to renew within 7 days"),
        ]

    def queryset(self, request, queryset):
        return queryset.in_renewal_state(self.value(), business_day(now())) if self.value() else queryset


class JoinedFilter(admin.SimpleListFilter):
    """First periods of members, by the month in which they began: the members who joined then."""

    title, parameter_name = "joined in", "joined"

    def lookups(self, request, model_admin):
        this_month = business_day(now()).replace(day=1)
        months = [months_after(this_month, -back) for back in range(12)]
        return [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in months]

    def queryset(self, request, queryset):
        if self.value() not in {choice for choice, _ in self.lookup_choices}:
            return queryset
        begin = date.fromisoformat(f"{self.value()}-01")
        return queryset.first_of_members().filter(starts_on__gte=begin, starts_on__lt=months_after(begin, 1))


class RenewalFilter(admin.SimpleListFilter):
    """Periods by whether the member renewed."""

    title, parameter_name = "renewal", "renewal"

    def lookups(self, request, model_admin):
        return [("renewed", "renewed"), ("left", "not renewed")]

    def queryset(self, request, queryset):
        return queryset.with_renewal(business_day(now())).filter(renewal=self.value()) if self.value() else queryset


@admin.register(Subscription)
class SubscriptionAdmin(Exportable, ReadOnlyAdmin):
    list_display = ["member", "plan", "fact", "starts_on", last_day, "payment"]
    list_filter = [StatusTodayFilter, "fact", "group", "plan", JoinedFilter, RenewalFilter]
    link_filters = ["starts_on", "ends_on"]
    list_select_related = ["member", "plan", "payment"]
    search_fields = ["member__username", "member__member_number", "payment__reference"]
    export_columns = [
        Column("member number", "member__member_number"),
        Column("first name", "member__first_name"),
        Column("last name", "member__last_name"),
        Column("plan", "plan__name"),
        Column("group", "group__name"),
        Column("fact", "fact"),
        Column("origin", "origin"),
        Column("starts on", "starts_on"),
        Column("ends on", "ends_on"),
        Column("payment reference", "payment__reference"),
        Column("created at (Nairobi)", "created_at"),
    ]


@admin.register(Freeze)
class FreezeAdmin(ReadOnlyAdmin):
    list_display = ["member", "plan", "starts_on", last_day, "ended_early_on", "kind", "requested_by"]
    list_select_related = ["subscription__member", "subscription__plan", "requested_by"]

    @admin.display(description="member")
    def member(self, freeze):
        return freeze.subscription.member

    @admin.display(description="plan")
    def plan(self, freeze):
        return freeze.subscription.plan


@admin.register(Closure)
class ClosureAdmin(ReadOnlyAdmin):
    list_display = ["starts_on", last_day, "reason", "made_by"]
    list_select_related = ["made_by"]


@admin.register(Visit)
class VisitAdmin(Exportable, ReadOnlyAdmin):
    list_display = ["at", "member", "decision", "reason", "gate"]
    list_filter = ["decision"]  # not `reason`: its choices would be read from all visits
    link_filters = ["at"]
    ordering = ["-at", "-pk"]  # a gate that was offline reports its visits later
    list_select_related = ["member"]
    search_fields = ["member__username", "member__member_number"]
    export_columns = [
        Column("at (Nairobi)", "at"),
        Column("member number", "member__member_number"),
        Column("first name", "member__first_name"),
        Column("last name", "member__last_name"),
        Column("decision", "decision"),
        Column("reason", "reason"),
        Column("gate", "gate"),
        Column("plan", "subscription__plan__name"),
    ]
