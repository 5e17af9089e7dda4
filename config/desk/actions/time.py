"""Freezes, and days for nothing."""

from datetime import timedelta

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from api.admin.form_fields import DayField
from api.business_days import business_day
from config.desk.actions.acts import ActDoneOnce, MemberAct, PlanField, day, runs
from subscriptions.models import Fact, Freeze, FreezeKind, Subscription
from subscriptions.permissions import may_freeze_as_staff
from subscriptions.services import free_periods, freezes


class PeriodField(forms.ModelChoiceField):
    """A period with its days."""

    widget = UnfoldAdminSelectWidget

    def label_from_instance(self, period):
        last = period.ends_on - timedelta(days=1)
        return f"{period.plan.name}: {day(period.starts_on)} to {day(last)}"


class FreezeForm(MemberAct):
    """Freeze a period for some days. A second sending is refused: the days are frozen already."""

    name, title = "freeze", "Freeze"
    period = PeriodField(queryset=Subscription.objects.none(), empty_label=None)
    starts_on = DayField(label="First frozen day")
    ends_on = DayField(label="Back on")
    reason = forms.CharField(max_length=120, widget=UnfoldAdminTextInputWidget)

    def offer(self):
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

    def carry_out(self):
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
        return f"Frozen for {(made.ends_on - made.starts_on).days} days, which come back at the end."


class UnfreezeForm(MemberAct):
    """End the freeze that runs, or take back the next one. A second sending is refused: nothing is frozen any more."""

    name, title = "unfreeze", "End the freeze"
    period = PeriodField(queryset=Subscription.objects.none(), empty_label=None)

    def offer(self):
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

    def carry_out(self):
        period = self.cleaned_data["period"]
        freezes.unfreeze(subscription_id=period.pk, now=self.now)
        period.refresh_from_db()
        return f"Welcome back: {period.plan.name} is good until {day(period.ends_on - timedelta(days=1))}."


class GiftForm(ActDoneOnce):
    """Give the days of a plan for nothing, with the reason."""

    name, title = "gift", "Gift days"
    plan = PlanField(label="Days of")
    reason = forms.CharField(max_length=50, widget=UnfoldAdminTextInputWidget)

    def carry_out(self):
        given = free_periods.grant_free_period(
            member_id=self.member.pk,
            plan_code=self.cleaned_data["plan"].code,
            reason=self.cleaned_data["reason"],
            by_id=self.caller.pk,
            now=self.now,
            **self.once(),
        )
        return f"{given.plan.name} is given. It runs {runs(given)}."
