"""Freeze a period, end a freeze, give a free period."""

from datetime import timedelta

from api.admin.form_fields import DayField, TextField
from api.admin.staff_actions import KeyedAction
from api.business_days import business_day
from config.desk.actions.base import MemberAction, day, days_of
from config.desk.actions.fields import PeriodField, PlanField
from subscriptions.models import Fact, Freeze, FreezeKind, Subscription
from subscriptions.permissions import may_freeze_as_staff
from subscriptions.services import free_periods, freezes


class FreezeForm(MemberAction):
    """Freeze a period for some days. A second sending is refused, because the days are frozen already."""

    name, title = "freeze", "Freeze"
    period = PeriodField()
    starts_on = DayField(label="First frozen day")
    ends_on = DayField(label="Back on")
    reason = TextField(max_length=120)

    def prepare(self):
        today = business_day(self.now)
        self.fields["period"].queryset = (
            Subscription.objects.filter(member=self.member.pk, fact=Fact.GRANTED, ends_on__gt=today)
            .select_related("plan")
            .order_by("starts_on", "pk")
        )
        self.fields["starts_on"].initial = today

    @property
    def is_possible(self):
        return bool(self.fields["period"].queryset)

    def perform(self):
        period = self.cleaned_data["period"]
        made = freezes.freeze(
            subscription_id=period.pk,
            starts_on=self.cleaned_data["starts_on"],
            ends_on=self.cleaned_data["ends_on"],
            reason=self.cleaned_data["reason"],
            kind=FreezeKind.STAFF if may_freeze_as_staff(self.caller, period) else FreezeKind.MEMBER,
            by_id=self.caller.pk,
            now=self.now,
        )
        return f"Frozen for {(made.ends_on - made.starts_on).days} days. They are added to the end of the period."


class UnfreezeForm(MemberAction):
    """End the running freeze, or cancel the next one. A second sending is refused, because nothing is frozen."""

    name, title = "unfreeze", "End the freeze"
    period = PeriodField()

    def prepare(self):
        frozen = Freeze.objects.filter(ends_on__gt=business_day(self.now), ended_early_on=None)
        self.fields["period"].queryset = (
            Subscription.objects.filter(member=self.member.pk, fact=Fact.GRANTED, freezes__in=frozen)
            .distinct()
            .select_related("plan")
            .order_by("starts_on", "pk")
        )

    @property
    def is_possible(self):
        return bool(self.fields["period"].queryset)

    def perform(self):
        period = self.cleaned_data["period"]
        freezes.unfreeze(subscription_id=period.pk, by_id=self.caller.pk, now=self.now)
        period.refresh_from_db()
        return f"The freeze has ended. {period.plan.name} runs until {day(period.ends_on - timedelta(days=1))}."


class FreePeriodForm(KeyedAction, MemberAction):
    """Give one free period of a plan, with a reason."""

    name, title = "gift", "Free days"
    plan = PlanField(label="Plan")
    reason = TextField(max_length=50)

    def perform(self):
        given = free_periods.grant_free_period(
            member_id=self.member.pk,
            plan_code=self.cleaned_data["plan"].code,
            reason=self.cleaned_data["reason"],
            by_id=self.caller.pk,
            now=self.now,
            idempotency_key=self.idempotency_key,
        )
        return f"{given.plan.name} is given free of charge. It runs {days_of(given)}."
