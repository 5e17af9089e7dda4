"""Tables of memberships: plans, the periods bought, freezes, closures and visits."""

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeBoundary
from django.core.validators import MaxValueValidator
from django.db import migrations, models
from django.db.models import Deferrable, F, Func, Q, Value
from django.db.models.functions import Cast

from subscriptions.models import DateRange, SingleIdRange

INTERVALS = [("days", "Days"), ("weeks", "Weeks"), ("months", "Months"), ("years", "Years")]
LATE_RENEWALS = [("from_expiry", "From Expiry"), ("from_payment", "From Payment")]
FACTS = [("pending", "Pending"), ("granted", "Granted"), ("cancelled", "Cancelled"), ("revoked", "Revoked")]


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("payments", "0001_initial"),
    ]

    operations = [
        # Plans of which a member has one at a time: gym access, locker, personal training.
        migrations.CreateModel(
            name="PlanGroup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60, unique=True)),
                ("opens_gate", models.BooleanField(default=True, help_text="Whether its periods open the gate. Those of a locker do not.")),
            ],
        ),
        # What is on offer.
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.SlugField(max_length=40, unique=True)),
                ("name", models.CharField(max_length=80)),
                ("price", models.PositiveIntegerField(help_text="Whole Kenyan shillings.", validators=[MaxValueValidator(10000000)])),
                ("joining_fee", models.PositiveIntegerField(default=0, help_text="Whole KES, charged once per member and group.", validators=[MaxValueValidator(10000000)])),
                ("interval", models.CharField(choices=INTERVALS, max_length=8)),
                ("interval_count", models.PositiveSmallIntegerField(default=1)),
                ("grace_days", models.PositiveSmallIntegerField(default=0)),
                ("late_renewal", models.CharField(choices=LATE_RENEWALS, default="from_payment", max_length=16)),
                ("visits", models.PositiveSmallIntegerField(blank=True, help_text="Visits per period. Empty: unlimited.", null=True)),
                ("max_freeze_days", models.PositiveSmallIntegerField(default=0, help_text="Days that a member may freeze in one period.")),
                ("max_freezes", models.PositiveSmallIntegerField(default=0, help_text="How many times a member may freeze one period.")),
                ("stacking_limit", models.PositiveSmallIntegerField(default=12, help_text="Periods that may be bought ahead. 0: none while a period runs.")),
                ("is_on_sale", models.BooleanField(default=True)),
                ("group", models.ForeignKey(on_delete=models.PROTECT, related_name="plans", to="subscriptions.plangroup")),
                ("closes_at", models.TimeField(blank=True, help_text="Entry until, Nairobi time. Empty: all day.", null=True)),
                ("opens_at", models.TimeField(blank=True, help_text="Entry from, Nairobi time. Empty: all day.", null=True)),
                (
                    "deposit_percent",
                    models.PositiveSmallIntegerField(default=100, help_text="Minimum payment that gives access, in percent of the amount. 100: the whole amount."),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=Q(interval_count__gt=0), name="plan_lasts_some_time"),
                    models.CheckConstraint(
                        condition=Q(interval="days", interval_count__lte=3653)
                        | Q(interval="weeks", interval_count__lte=521)
                        | Q(interval="months", interval_count__lte=120)
                        | Q(interval="years", interval_count__lte=10),
                        name="plan_lasts_ten_years_at_most",
                    ),
                    models.CheckConstraint(
                        condition=Q(deposit_percent__gte=1, deposit_percent__lte=100), name="plan_deposit_is_a_share"
                    ),
                    models.CheckConstraint(
                        condition=Q(closes_at__isnull=True, opens_at__isnull=True)
                        | Q(closes_at__gt=F("opens_at"), closes_at__isnull=False, opens_at__isnull=False),
                        name="plan_hours_are_both_or_none",
                    ),
                ],
            },
        ),
        # One period of a plan, with the plan's terms as they were when it was bought.
        # The exclusion constraint: no two granted periods of a member in one group overlap.
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("price", models.PositiveIntegerField(help_text="Whole Kenyan shillings, without the joining fee.")),
                ("interval", models.CharField(choices=INTERVALS, max_length=8)),
                ("interval_count", models.PositiveSmallIntegerField()),
                ("grace_days", models.PositiveSmallIntegerField()),
                ("late_renewal", models.CharField(choices=LATE_RENEWALS, max_length=16)),
                ("visits", models.PositiveSmallIntegerField(null=True)),
                ("max_freeze_days", models.PositiveSmallIntegerField()),
                ("max_freezes", models.PositiveSmallIntegerField()),
                ("fact", models.CharField(choices=FACTS, default="pending", max_length=12)),
                ("anchor_on", models.DateField(null=True)),
                ("starts_on", models.DateField(null=True)),
                ("base_ends_on", models.DateField(help_text="The end without frozen days.", null=True)),
                ("ends_on", models.DateField(null=True)),
                ("created_at", models.DateTimeField()),
                ("granted_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(help_text="When it was cancelled or revoked.", null=True)),
                ("created_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("group", models.ForeignKey(on_delete=models.PROTECT, related_name="subscriptions", to="subscriptions.plangroup")),
                ("member", models.ForeignKey(on_delete=models.PROTECT, related_name="subscriptions", to=settings.AUTH_USER_MODEL)),
                ("payment", models.OneToOneField(on_delete=models.PROTECT, related_name="subscription_payment", to="payments.payment")),
                ("plan", models.ForeignKey(on_delete=models.PROTECT, related_name="subscriptions", to="subscriptions.plan")),
                ("cut_on", models.DateField(help_text="An upgrade took over on this day.", null=True)),
                ("joining_fee", models.PositiveIntegerField(default=0, help_text="Whole KES, charged in addition to the price.")),
                ("leaving_at", models.DateTimeField(help_text="When the member said that this is the last period.", null=True)),
                (
                    "next_plan",
                    models.ForeignKey(blank=True, help_text="The plan of the renewal.", null=True, on_delete=models.PROTECT, related_name="+", to="subscriptions.plan"),
                ),
                ("not_before", models.DateField(help_text="It starts on this day or on the end of the period before it.", null=True)),
                ("origin", models.CharField(choices=[("bought", "Bought"), ("gift", "Gift"), ("migrated", "Migrated")], default="bought", max_length=8)),
                ("replaces", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="upgrades", to="subscriptions.subscription")),
                ("value_carried", models.PositiveIntegerField(default=0, help_text="Unused value of the replaced period, whole KES.")),
                ("closes_at", models.TimeField(null=True)),
                ("opens_at", models.TimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["member", "group", "starts_on"], name="subscription_by_member"),
                    models.Index(fields=["ends_on"], condition=Q(fact="granted"), name="subscription_by_end"),
                    models.Index(fields=["-created_at", "-id"], name="subscription_newest_first"),
                    models.Index(
                        fields=["fact", "-created_at", "-id"],
                        condition=~Q(fact="granted"),
                        name="subscription_not_granted",
                    ),
                    models.Index(fields=["starts_on"], condition=Q(fact="granted"), name="subscription_by_start"),
                    models.Index(fields=["grace_days"], condition=Q(fact="granted"), name="subscription_by_grace"),
                    models.Index(
                        fields=["ends_on"],
                        condition=Q(fact="granted", visits__isnull=False),
                        name="subscription_packs_by_end",
                    ),
                ],
                "constraints": [
                    ExclusionConstraint(
                        expressions=[
                            (SingleIdRange(Cast(F("member"), models.BigIntegerField())), "&&"),
                            (SingleIdRange(Cast(F("group"), models.BigIntegerField())), "&&"),
                            (DateRange(F("starts_on"), F("ends_on"), RangeBoundary()), "&&"),
                        ],
                        condition=Q(fact="granted"),
                        deferrable=Deferrable.IMMEDIATE,
                        name="subscription_periods_do_not_overlap",
                    ),
                    models.UniqueConstraint(
                        fields=("member", "plan"),
                        condition=Q(fact="pending"),
                        name="subscription_pending_once_per_plan",
                    ),
                    models.CheckConstraint(
                        condition=~Q(fact="granted")
                        | Q(
                            anchor_on__isnull=False,
                            base_ends_on__gt=F("starts_on"),
                            base_ends_on__isnull=False,
                            ends_on__isnull=False,
                            granted_at__isnull=False,
                            not_before__isnull=False,
                            starts_on__gte=F("not_before"),
                            starts_on__isnull=False,
                        ),
                        name="subscription_granted_has_dates",
                    ),
                    models.CheckConstraint(
                        condition=Q(value_carried=0) | Q(replaces__isnull=False, value_carried__lt=F("price")),
                        name="subscription_carries_value_of_another_only",
                    ),
                    models.UniqueConstraint(
                        fields=("replaces",),
                        condition=Q(fact__in=("pending", "granted")),
                        name="subscription_is_replaced_once",
                    ),
                    models.CheckConstraint(
                        condition=~Q(fact="granted")
                        | Q(cut_on__isnull=True, ends_on__gte=F("base_ends_on"))
                        | Q(cut_on__gte=F("starts_on"), cut_on__isnull=False, ends_on=F("cut_on")),
                        name="subscription_ends_after_its_length_unless_cut",
                    ),
                ],
            },
        ),
        # The key of a repeated request that was answered with an earlier purchase.
        migrations.CreateModel(
            name="KeptKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("idempotency_key", models.CharField(max_length=64)),
                ("body_fingerprint", models.CharField(help_text="SHA-256 of the request body.", max_length=64)),
                ("created_at", models.DateTimeField()),
                ("made_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to="payments.payment")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("made_by", "idempotency_key"), name="kept_key_once_per_person"),
                ],
            },
        ),
        # Days on which a period does not run. Freezes of one period do not overlap.
        migrations.CreateModel(
            name="Freeze",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_on", models.DateField()),
                ("ends_on", models.DateField()),
                ("kind", models.CharField(choices=[("member", "Member"), ("staff", "Staff")], max_length=8)),
                ("reason", models.CharField(blank=True, max_length=120)),
                ("ended_early_on", models.DateField(null=True)),
                ("created_at", models.DateTimeField()),
                ("approved_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("requested_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("subscription", models.ForeignKey(on_delete=models.PROTECT, related_name="freezes", to="subscriptions.subscription")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["ends_on"], name="freeze_by_end"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=Q(ends_on__gt=F("starts_on")), name="freeze_lasts_some_days"),
                    models.CheckConstraint(
                        condition=Q(ended_early_on__isnull=True)
                        | Q(ended_early_on__gte=F("starts_on"), ended_early_on__lt=F("ends_on")),
                        name="freeze_early_end_is_inside",
                    ),
                    ExclusionConstraint(
                        expressions=[
                            (SingleIdRange(Cast(F("subscription"), models.BigIntegerField())), "&&"),
                            (
                                Func(
                                    F("starts_on"),
                                    Func(F("ended_early_on"), F("ends_on"), function="COALESCE"),
                                    Value("[)"),
                                    function="daterange",
                                    output_field=DateRangeField(),
                                ),
                                "&&",
                            ),
                        ],
                        name="freezes_do_not_overlap",
                    ),
                ],
            },
        ),
        # Days on which the whole club is closed. Closures do not overlap.
        migrations.CreateModel(
            name="Closure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_on", models.DateField()),
                ("ends_on", models.DateField()),
                ("reason", models.CharField(max_length=120)),
                ("created_at", models.DateTimeField()),
                ("made_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=Q(ends_on__gt=F("starts_on")), name="closure_lasts_some_days"),
                    ExclusionConstraint(
                        expressions=[(DateRange(F("starts_on"), F("ends_on"), RangeBoundary()), "&&")],
                        name="closures_do_not_overlap",
                    ),
                ],
            },
        ),
        # A member at the gate, and what the gate answered.
        migrations.CreateModel(
            name="Visit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("decision", models.CharField(choices=[("allow", "Allow"), ("deny", "Deny")], max_length=8)),
                ("reason", models.CharField(max_length=24)),
                ("gate", models.CharField(blank=True, max_length=40)),
                ("member", models.ForeignKey(on_delete=models.PROTECT, related_name="visits", to=settings.AUTH_USER_MODEL)),
                ("recorded_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("subscription", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="visited", to="subscriptions.subscription")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["member", "-at"], name="visit_by_member"),
                    models.Index(fields=["-at"], include=("decision",), name="visit_newest_first"),
                ],
            },
        ),
    ]
