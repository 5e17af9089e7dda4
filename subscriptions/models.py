"""The tables of memberships: plans, subscriptions (the periods that were bought), freezes, closures and visits.

Dates are Nairobi business days. Periods are half-open: starts_on <= day < ends_on. Money is whole KES.
"""

from datetime import date, datetime, timedelta
from functools import reduce
from operator import or_

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeBoundary, RangeOperators
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Deferrable, F, Func, Q, Value
from django.db.models.functions import Cast, Greatest
from django.utils.formats import date_format
from django.utils.timezone import localtime

from api.money import MAX_KES
from api.names import NameField
from subscriptions.querysets import FreezeQuerySet, PlanQuerySet, SubscriptionQuerySet


class DateRange(Func):
    """PostgreSQL's daterange(lower, upper, bounds)."""

    function = "daterange"
    output_field = DateRangeField()


class SingleIdRange(Func):
    """A range that holds one id: the equality part of an exclusion constraint, without the btree_gist extension."""

    function = "int8range"
    template = "%(function)s(%(expressions)s, %(expressions)s, '[]')"


def format_days(starts_on: date, ends_on: date, *, empty: str = "cancelled") -> str:
    """Return half-open days as text with the last day included: 1 Nov 2026 to 30 Nov 2026.

    `empty` is the word for no days at all, such as a freeze that was cancelled before its first day was over.
    """
    if ends_on <= starts_on:
        return f"{date_format(starts_on)}, {empty}"
    return f"{date_format(starts_on)} to {date_format(ends_on - timedelta(days=1))}"


class Interval(models.TextChoices):
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


# The longest period of a plan, in each unit: ten years.
LONGEST = {Interval.DAYS: 3653, Interval.WEEKS: 521, Interval.MONTHS: 120, Interval.YEARS: 10}


class LateRenewal(models.TextChoices):
    FROM_EXPIRY = "from_expiry"  # paid within grace: the new period starts on the end of the old one
    FROM_PAYMENT = "from_payment"  # it starts on the day of the payment


class Fact(models.TextChoices):
    """The recorded state of a period. Its status is computed from this and the dates."""

    PENDING = "pending"  # bought, not paid
    GRANTED = "granted"  # paid or free
    CANCELLED = "cancelled"  # cancelled before it was paid
    REVOKED = "revoked"  # the money went back


class Origin(models.TextChoices):
    """The origin of a period. Gifts and imported periods have a comp payment of KES 0 with a reason and an author."""

    BOUGHT = "bought"
    GIFT = "gift"  # given by staff
    MIGRATED = "migrated"  # imported from the club's earlier records, with its own dates


class PlanGroup(models.Model):
    """A group of plans, such as gym access, locker or personal training. A member has one period of it at a time."""

    name = NameField(max_length=60, unique=True)
    opens_gate = models.BooleanField(
        default=True, help_text="Whether its periods open the gate. Those of a locker do not."
    )

    def __str__(self):
        return self.name


class Plan(models.Model):
    """A plan on the price list. Editing it never changes a subscription: that keeps the terms it was bought on."""

    code = models.SlugField(max_length=40, unique=True)
    name = NameField(max_length=80)
    group = models.ForeignKey(PlanGroup, on_delete=models.PROTECT, related_name="plans")
    price = models.PositiveIntegerField(validators=[MaxValueValidator(MAX_KES)], help_text="Whole Kenyan shillings.")
    joining_fee = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(MAX_KES)], help_text="Whole KES, charged once per member and group."
    )
    deposit_percent = models.PositiveSmallIntegerField(
        default=100, help_text="Minimum payment that gives access, in percent of the amount. 100: the whole amount."
    )
    interval = models.CharField(max_length=8, choices=Interval)
    interval_count = models.PositiveSmallIntegerField(default=1)
    grace_days = models.PositiveSmallIntegerField(default=0)
    late_renewal = models.CharField(max_length=16, choices=LateRenewal, default=LateRenewal.FROM_PAYMENT)
    visits = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Visits per period. Empty: unlimited.")
    max_freeze_days = models.PositiveSmallIntegerField(
        default=0, help_text="Days that a member may freeze in one period."
    )
    max_freezes = models.PositiveSmallIntegerField(
        default=0, help_text="How many times a member may freeze one period."
    )
    stacking_limit = models.PositiveSmallIntegerField(
        default=12, help_text="Periods that may be bought ahead. 0: none while a period runs."
    )
    is_on_sale = models.BooleanField(default=True)
    opens_at = models.TimeField(null=True, blank=True, help_text="Entry from, Nairobi time. Empty: all day.")
    closes_at = models.TimeField(null=True, blank=True, help_text="Entry until, Nairobi time. Empty: all day.")

    objects = PlanQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(interval_count__gt=0), name="plan_lasts_some_time"),
            models.CheckConstraint(
                condition=Q(deposit_percent__gte=1, deposit_percent__lte=100), name="plan_deposit_is_a_share"
            ),
            models.CheckConstraint(
                condition=reduce(or_, (Q(interval=unit, interval_count__lte=most) for unit, most in LONGEST.items())),
                name="plan_lasts_ten_years_at_most",
            ),
            models.CheckConstraint(
                condition=Q(opens_at__isnull=True, closes_at__isnull=True)
                # A CHECK accepts unknown, which is the result of a comparison with a missing hour.
                | Q(opens_at__isnull=False, closes_at__isnull=False, closes_at__gt=F("opens_at")),
                name="plan_hours_are_both_or_none",
            ),
        ]

    def __str__(self):
        return self.name


class Subscription(models.Model):
    """A period of a plan for one member, with its payment. Only subscriptions.services writes `fact` and the dates."""

    # Annotated by SubscriptionQuerySet.with_status.
    status: str
    visits_used: int
    # Annotated by the gate.
    tapped_at: datetime | None
    frozen_until: date | None

    member = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    group = models.ForeignKey(PlanGroup, on_delete=models.PROTECT, related_name="subscriptions")
    payment = models.OneToOneField("payments.Payment", on_delete=models.PROTECT, related_name="subscription_payment")
    # The terms of the plan at the time of purchase.
    price = models.PositiveIntegerField(help_text="Whole Kenyan shillings, without the joining fee.")
    interval = models.CharField(max_length=8, choices=Interval)
    interval_count = models.PositiveSmallIntegerField()
    grace_days = models.PositiveSmallIntegerField()
    late_renewal = models.CharField(max_length=16, choices=LateRenewal)
    visits = models.PositiveSmallIntegerField(null=True)
    max_freeze_days = models.PositiveSmallIntegerField()
    max_freezes = models.PositiveSmallIntegerField()
    opens_at = models.TimeField(null=True)
    closes_at = models.TimeField(null=True)

    origin = models.CharField(max_length=8, choices=Origin, default=Origin.BOUGHT)
    joining_fee = models.PositiveIntegerField(default=0, help_text="Whole KES, charged in addition to the price.")
    # Of an upgrade: the period that it replaces, and the unused value of that period, by which its payment was reduced.
    replaces = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="upgrades")
    value_carried = models.PositiveIntegerField(default=0, help_text="Unused value of the replaced period, whole KES.")

    fact = models.CharField(max_length=12, choices=Fact, default=Fact.PENDING)
    not_before = models.DateField(null=True, help_text="It starts on this day or on the end of the period before it.")
    # Calendar months are counted from this day, so that 31 January is followed by 28 February and 31 March.
    anchor_on = models.DateField(null=True)
    starts_on = models.DateField(null=True)
    base_ends_on = models.DateField(null=True, help_text="The end without frozen days.")
    ends_on = models.DateField(null=True)
    cut_on = models.DateField(null=True, help_text="An upgrade took over on this day.")
    # The member's choices for the end of the period. Both can be undone until then.
    leaving_at = models.DateTimeField(null=True, help_text="When the member said that this is the last period.")
    next_plan = models.ForeignKey(
        Plan, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="The plan of the renewal."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    granted_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When it was cancelled or revoked.")

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(fact=Fact.GRANTED)
                | Q(
                    not_before__isnull=False,
                    anchor_on__isnull=False,
                    starts_on__isnull=False,
                    starts_on__gte=F("not_before"),
                    base_ends_on__isnull=False,
                    base_ends_on__gt=F("starts_on"),
                    ends_on__isnull=False,
                    granted_at__isnull=False,
                ),
                name="subscription_granted_has_dates",
            ),
            models.CheckConstraint(
                condition=~Q(fact=Fact.GRANTED)
                | Q(cut_on__isnull=True, ends_on__gte=F("base_ends_on"))
                # A cut period moves past the day of its cut when an earlier one is extended.
                | Q(cut_on__isnull=False, ends_on=Greatest("starts_on", "cut_on")),
                name="subscription_ends_after_its_length_unless_cut",
            ),
            models.CheckConstraint(
                condition=Q(value_carried=0) | Q(replaces__isnull=False, value_carried__lt=F("price")),
                name="subscription_carries_value_of_another_only",
            ),
            ExclusionConstraint(
                name="subscription_periods_do_not_overlap",
                expressions=[
                    (SingleIdRange(Cast(F("member"), models.BigIntegerField())), RangeOperators.OVERLAPS),
                    (SingleIdRange(Cast(F("group"), models.BigIntegerField())), RangeOperators.OVERLAPS),
                    (DateRange(F("starts_on"), F("ends_on"), RangeBoundary()), RangeOperators.OVERLAPS),
                ],
                condition=Q(fact=Fact.GRANTED),
                deferrable=Deferrable.IMMEDIATE,  # checked at the end of a statement: a freeze moves several periods
            ),
            models.UniqueConstraint(
                fields=["member", "plan"], condition=Q(fact=Fact.PENDING), name="subscription_pending_once_per_plan"
            ),
            models.UniqueConstraint(
                fields=["replaces"],
                condition=Q(fact__in=(Fact.PENDING, Fact.GRANTED)),
                name="subscription_is_replaced_once",
            ),
        ]
        indexes = [
            models.Index(fields=["member", "group", "starts_on"], name="subscription_by_member"),
            models.Index(fields=["ends_on"], condition=Q(fact=Fact.GRANTED), name="subscription_by_end"),
            # For lists: the newest first, the newest that were never granted, and each status by its dates.
            models.Index(fields=["-created_at", "-id"], name="subscription_newest_first"),
            models.Index(
                fields=["fact", "-created_at", "-id"], condition=~Q(fact=Fact.GRANTED), name="subscription_not_granted"
            ),
            models.Index(fields=["starts_on"], condition=Q(fact=Fact.GRANTED), name="subscription_by_start"),
            models.Index(fields=["grace_days"], condition=Q(fact=Fact.GRANTED), name="subscription_by_grace"),
            models.Index(
                fields=["ends_on"],
                condition=Q(fact=Fact.GRANTED, visits__isnull=False),
                name="subscription_packs_by_end",
            ),
        ]

    def __str__(self) -> str:
        if self.starts_on is None or self.ends_on is None:
            return f"{self.plan}, not started"
        return f"{self.plan}, {format_days(self.starts_on, self.ends_on, empty='replaced the same day')}"

    @property
    def has_no_days(self) -> bool:
        """Return whether an upgrade replaced the period on its first day, so that no day of it is left."""
        return self.starts_on is not None and self.ends_on is not None and self.ends_on <= self.starts_on

    def covers(self, day: date) -> bool:
        """Return whether `day` is within the dates of the period, whatever its recorded state."""
        return self.starts_on is not None and self.ends_on is not None and self.starts_on <= day < self.ends_on

    def runs_on(self, day: date) -> bool:
        """Return whether the period is granted and covers `day`, frozen or not."""
        return self.fact == Fact.GRANTED and self.covers(day)

    def ends_after(self, day: date) -> bool:
        """Return whether the period is granted and its last day is `day` or later, also if it starts later."""
        return self.fact == Fact.GRANTED and self.ends_on is not None and self.ends_on > day


class FreezeKind(models.TextChoices):
    MEMBER = "member"  # requested by the member, within the limits of the plan
    STAFF = "staff"  # entered by staff


class Freeze(models.Model):
    """A freeze of one period: half-open days on which it does not run, and which extend it."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="freezes")
    starts_on = models.DateField()
    ends_on = models.DateField()
    kind = models.CharField(max_length=8, choices=FreezeKind)
    reason = models.CharField(max_length=120, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    ended_early_on = models.DateField(null=True)
    created_at = models.DateTimeField()

    objects = FreezeQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["ends_on"], name="freeze_by_end")]
        constraints = [
            models.CheckConstraint(condition=Q(ends_on__gt=F("starts_on")), name="freeze_lasts_some_days"),
            models.CheckConstraint(
                condition=Q(ended_early_on__isnull=True)
                | Q(ended_early_on__gte=F("starts_on"), ended_early_on__lt=F("ends_on")),
                name="freeze_early_end_is_inside",
            ),
            ExclusionConstraint(
                name="freezes_do_not_overlap",
                expressions=[
                    (SingleIdRange(Cast(F("subscription"), models.BigIntegerField())), RangeOperators.OVERLAPS),
                    (
                        Func(
                            F("starts_on"),
                            Func(F("ended_early_on"), F("ends_on"), function="COALESCE"),
                            Value("[)"),
                            function="daterange",
                            output_field=DateRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]

    def __str__(self) -> str:
        return format_days(self.starts_on, self.ended_early_on or self.ends_on)


class Closure(models.Model):
    """Half-open days on which the whole club is closed. They extend every period that they touch."""

    starts_on = models.DateField()
    ends_on = models.DateField()
    reason = models.CharField(max_length=120)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(ends_on__gt=F("starts_on")), name="closure_lasts_some_days"),
            ExclusionConstraint(
                name="closures_do_not_overlap",
                expressions=[(DateRange(F("starts_on"), F("ends_on"), RangeBoundary()), RangeOperators.OVERLAPS)],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reason}, {format_days(self.starts_on, self.ends_on)}"


class Decision(models.TextChoices):
    ALLOW = "allow"
    DENY = "deny"


class Visit(models.Model):
    """A check-in at the gate and its result."""

    member = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="visits")
    subscription = models.ForeignKey(Subscription, null=True, on_delete=models.PROTECT, related_name="visited")
    at = models.DateTimeField()
    decision = models.CharField(max_length=8, choices=Decision)
    reason = models.CharField(max_length=24)
    gate = models.CharField(max_length=40, blank=True)
    recorded_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [
            models.Index(fields=["member", "-at"], name="visit_by_member"),
            models.Index(fields=["-at"], include=["decision"], name="visit_newest_first"),
        ]

    def __str__(self) -> str:
        return f"{self.member}, {date_format(localtime(self.at), 'DATETIME_FORMAT')}"


class ImportHeading(models.Model):
    """A heading that the club's member lists use, and the column that it means. The import asks once."""

    heading = models.CharField(max_length=100, unique=True, help_text="In lower case, without punctuation.")
    column = models.CharField(max_length=20, blank=True, help_text="Empty: this column is not imported.")

    def __str__(self) -> str:
        return f"{self.heading} = {self.column or 'not imported'}"
