"""What is sold, what was bought, when it runs and who came.

Dates are Nairobi business days; periods are half-open: starts_on <= day < ends_on. Money is whole KES.
"""

from datetime import date, timedelta
from functools import reduce
from operator import or_

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeBoundary, RangeOperators
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Deferrable, F, Func, Q, Value
from django.db.models.functions import Cast
from django.utils.formats import date_format
from django.utils.timezone import localtime

from api.money import MAX_KES
from subscriptions.querysets import FreezeQuerySet, PlanQuerySet, SubscriptionQuerySet


class DateRange(Func):
    """PostgreSQL's daterange(lower, upper, bounds)."""

    function = "daterange"
    output_field = DateRangeField()


class SingleIdRange(Func):
    """A range holding one id: the equality part of an exclusion constraint where btree_gist is missing."""

    function = "int8range"
    template = "%(function)s(%(expressions)s, %(expressions)s, '[]')"


def format_days(starts_on: date, ends_on: date) -> str:
    """Return half-open days as people say them, with the last: 1 Nov 2026 to 30 Nov 2026."""
    if ends_on <= starts_on:
        return f"{date_format(starts_on)}, taken back"
    return f"{date_format(starts_on)} to {date_format(ends_on - timedelta(days=1))}"


class Interval(models.TextChoices):
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


# Ten years: the most a plan may last, in each of its units.
LONGEST = {Interval.DAYS: 3653, Interval.WEEKS: 521, Interval.MONTHS: 120, Interval.YEARS: 10}


class LateRenewal(models.TextChoices):
    FROM_EXPIRY = "from_expiry"  # paid within grace: the new period starts where the old one ended
    FROM_PAYMENT = "from_payment"  # it starts on the day the money moved


class Fact(models.TextChoices):
    """What was decided about a period; what people see is computed from it and the dates."""

    PENDING = "pending"  # bought, not paid
    GRANTED = "granted"  # paid, or given
    CANCELLED = "cancelled"  # withdrawn before it was paid
    REVOKED = "revoked"  # the money went back


class Origin(models.TextChoices):
    """How a period came to be; all but the bought ones carry a comp payment with a reason and an author."""

    BOUGHT = "bought"
    GIFT = "gift"  # given by staff
    MIGRATED = "migrated"  # brought along from the club's former books, with its own dates


class PlanGroup(models.Model):
    """Plans of which a member runs one at a time: gym access, locker, personal training."""

    name = models.CharField(max_length=60, unique=True)
    opens_gate = models.BooleanField(default=True, help_text="Whether its periods let a member in; a locker's do not.")

    def __str__(self):
        return self.name


class Plan(models.Model):
    """What is on offer. Editing a plan never changes what was bought: a subscription keeps its snapshot."""

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    group = models.ForeignKey(PlanGroup, on_delete=models.PROTECT, related_name="plans")
    price = models.PositiveIntegerField(validators=[MaxValueValidator(MAX_KES)], help_text="Whole Kenyan shillings.")
    joining_fee = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(MAX_KES)], help_text="Whole KES, once per member and group."
    )
    deposit_percent = models.PositiveSmallIntegerField(
        default=100, help_text="Share of the amount that must have come before access is given; 100: all of it."
    )
    interval = models.CharField(max_length=8, choices=Interval)
    interval_count = models.PositiveSmallIntegerField(default=1)
    grace_days = models.PositiveSmallIntegerField(default=0)
    late_renewal = models.CharField(max_length=16, choices=LateRenewal, default=LateRenewal.FROM_PAYMENT)
    visits = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Per period; empty: unlimited.")
    max_freeze_days = models.PositiveSmallIntegerField(default=0, help_text="Per period, by the member.")
    max_freezes = models.PositiveSmallIntegerField(default=0, help_text="Per period, by the member.")
    stacking_limit = models.PositiveSmallIntegerField(
        default=12, help_text="Periods that may be bought ahead; 0: none while one runs."
    )
    is_on_sale = models.BooleanField(default=True)
    opens_at = models.TimeField(null=True, blank=True, help_text="Entry from, Nairobi time; empty: all day.")
    closes_at = models.TimeField(null=True, blank=True, help_text="Entry until, Nairobi time; empty: all day.")

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
                # A check passes what is unknown, as the comparison with an hour that is missing would be.
                | Q(opens_at__isnull=False, closes_at__isnull=False, closes_at__gt=F("opens_at")),
                name="plan_hours_are_both_or_none",
            ),
        ]

    def __str__(self):
        return self.name


class Subscription(models.Model):
    """One bought period. Only subscriptions.services writes fact and dates."""

    # What it is on a day, where a query annotated it (with_status).
    status: str
    visits_used: int

    member = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    group = models.ForeignKey(PlanGroup, on_delete=models.PROTECT, related_name="subscriptions")
    payment = models.OneToOneField("payments.Payment", on_delete=models.PROTECT, related_name="subscription_payment")
    # The plan as it was when bought.
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
    joining_fee = models.PositiveIntegerField(default=0, help_text="Whole KES charged on top of the price.")
    # An upgrade: what was unused of the period it replaces lowered the payment by so much.
    replaces = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="upgrades")
    value_carried = models.PositiveIntegerField(default=0, help_text="Whole KES of the replaced period, unused.")

    fact = models.CharField(max_length=12, choices=Fact, default=Fact.PENDING)
    not_before = models.DateField(null=True, help_text="It starts here, or where the period before it ends.")
    # Calendar months are counted from here, so that 31 January is followed by 28 February and 31 March.
    anchor_on = models.DateField(null=True)
    starts_on = models.DateField(null=True)
    base_ends_on = models.DateField(null=True, help_text="Before frozen days were given back.")
    ends_on = models.DateField(null=True)
    cut_on = models.DateField(null=True, help_text="An upgrade took over on this day.")
    # What the member wants at the end; both can be taken back until then.
    leaving_at = models.DateTimeField(null=True, help_text="When the member said that this period is the last.")
    next_plan = models.ForeignKey(
        Plan, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="To be renewed as this."
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
                | Q(cut_on__isnull=False, cut_on__gte=F("starts_on"), ends_on=F("cut_on")),
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
                deferrable=Deferrable.IMMEDIATE,  # a freeze moves stacked periods together, checked at the end
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
            # What lists ask: the newest of all and of what was never granted, and each status by its dates.
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
            return f"{self.plan}, not begun"
        return f"{self.plan}, {format_days(self.starts_on, self.ends_on)}"


class KeptKey(models.Model):
    """An Idempotency-Key whose request was answered with a purchase that was there already: sent again, it is again.

    The key of a request that bought something stands on its payment.
    """

    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    idempotency_key = models.CharField(max_length=64)
    body_fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the request's body.")
    payment = models.ForeignKey("payments.Payment", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["made_by", "idempotency_key"], name="kept_key_once_per_person"),
        ]

    def __str__(self) -> str:
        return self.idempotency_key


class FreezeKind(models.TextChoices):
    MEMBER = "member"  # asked by the member, within the plan's limits
    STAFF = "staff"  # given by staff


class Freeze(models.Model):
    """Days on which a period does not run; they are given back at its end. Half-open."""

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
    """Days on which the whole club is closed; every period gets them back. Half-open."""

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
    """Somebody stood at the gate, and what it answered."""

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
