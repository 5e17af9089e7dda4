"""Query sets of subscriptions, plans and freezes: chainable filters, and the status of a period in SQL."""

from datetime import date, timedelta

from django.apps import apps
from django.db import models
from django.db.models import Case, Count, Exists, ExpressionWrapper, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce

from api.permissions import is_at_least
from api.roles import Role
from subscriptions.statuses import Status

# Pending, and its payment has not expired. Late money for an expired payment still grants the period.
AWAITING_PAYMENT = Q(fact="pending") & ~Q(payment__status="expired")

VISITS_USED_UP = Q(visits__isnull=False, visits_used__gte=F("visits"))
HAS_VISITS_LEFT = Q(visits__isnull=True) | Q(visits_used__lt=F("visits"))
ENDS_WITHOUT_GRACE = Q(leaving_at__isnull=False) | Q(cut_on__isnull=False) | VISITS_USED_UP
NO_GRACE = ENDS_WITHOUT_GRACE | Q(is_followed=True)


def freezes_on(day: date):
    """Return the freezes that cover the day, of all periods."""
    return apps.get_model("subscriptions", "Freeze").objects.covering(day)


def closures_on(day: date):
    """Return the closures that cover the day: one at most."""
    return apps.get_model("subscriptions", "Closure").objects.filter(starts_on__lte=day, ends_on__gt=day)


class SubscriptionQuerySet(models.QuerySet):
    """Subscriptions, with their status on a day."""

    def visible_to(self, user):
        """Return the subscriptions that `user` is the member or the payer of; all of them for a Trainer or above."""
        if is_at_least(user, Role.TRAINER):
            return self
        # Two lookups by index: an OR over two tables would read every row.
        everything = self.model._default_manager
        own, paid_for = everything.filter(member=user.pk), everything.filter(payment__payer=user.pk)
        return self.filter(pk__in=own.values("pk").union(paid_for.values("pk")))

    def granted(self):
        return self.filter(fact="granted")

    def pending(self):
        return self.filter(fact="pending")

    def running_on(self, day: date):
        """Return the granted periods that cover the day, frozen or not."""
        return self.granted().filter(starts_on__lte=day, ends_on__gt=day)

    def _granted_of_same_group(self):
        """Return all granted periods of the outer query's member and group, for a subquery."""
        return self.model._default_manager.filter(fact="granted", member=OuterRef("member"), group=OuterRef("group"))

    def with_status_inputs(self, today: date):
        """Annotate the inputs of status_on that are not columns: is_frozen, is_followed, visits_used."""
        visits = apps.get_model("subscriptions", "Visit").objects.filter(decision="allow")
        later = self._granted_of_same_group().filter(starts_on__gte=OuterRef("ends_on"), starts_on__lte=today)
        used = visits.filter(subscription=OuterRef("pk")).order_by().values("subscription").annotate(n=Count("pk"))
        return self.alias(
            grace_ends_on=ExpressionWrapper(F("ends_on") + F("grace_days"), output_field=models.DateField())
        ).annotate(
            is_frozen=Exists(freezes_on(today).filter(subscription=OuterRef("pk"))) | Exists(closures_on(today)),
            is_followed=Exists(later),
            # Counted for visit packs only, because an unlimited period can have very many visits.
            visits_used=Case(
                When(visits__isnull=False, then=Coalesce(Subquery(used.values("n")), 0)),
                default=0,
                output_field=models.IntegerField(),
            ),
        )

    def with_status(self, today: date):
        """Annotate `status`, the same as `statuses.status_on` computes it."""
        return self.with_status_inputs(today).annotate(
            status=Case(
                When(~Q(fact="granted"), then=F("fact")),
                When(starts_on__gt=today, then=Value(Status.SCHEDULED)),
                When(Q(ends_on__gt=today, is_frozen=True), then=Value(Status.FROZEN)),
                When(Q(ends_on__gt=today) & VISITS_USED_UP, then=Value(Status.EXHAUSTED)),
                When(ends_on__gt=today, then=Value(Status.ACTIVE)),
                When(NO_GRACE, then=Value(Status.EXPIRED)),
                When(grace_ends_on__gt=today, then=Value(Status.GRACE)),
                default=Value(Status.EXPIRED),
                output_field=models.CharField(),
            )
        )

    def having_status(self, status: str, today: date):
        """Return the rows with this status, by conditions that use indexes. Call it after with_status_inputs.

        The dates are compared first, so that visits and freezes are looked up for few rows.
        """
        running = Q(fact="granted", starts_on__lte=today, ends_on__gt=today)
        ended = Q(fact="granted", ends_on__lte=today)
        match status:
            case Status.SCHEDULED:
                return self.filter(fact="granted", starts_on__gt=today)
            case Status.FROZEN:
                # A closure freezes every running period. Without one, a lookup by the few freezes is fast.
                if closures_on(today).exists():
                    return self.filter(running)
                return self.filter(running, pk__in=freezes_on(today).values("subscription"))
            case Status.EXHAUSTED:
                return self.filter(running, VISITS_USED_UP, is_frozen=False)
            case Status.ACTIVE:
                return self.filter(running, HAS_VISITS_LEFT, is_frozen=False)
            case Status.GRACE:
                return self.filter(ended, ends_on__gt=self._longest_grace_before(today)).filter(
                    HAS_VISITS_LEFT, grace_ends_on__gt=today, is_followed=False, leaving_at=None, cut_on=None
                )
            case Status.EXPIRED:
                return self.filter(ended).filter(Q(grace_ends_on__lte=today) | NO_GRACE)
            case _:
                return self.filter(fact=status)

    def _longest_grace_before(self, today: date):
        """Return today less the longest grace of any period: a period that ended by then has no grace left."""
        longest = self.model._default_manager.filter(fact="granted").order_by("-grace_days").values("grace_days")[:1]
        return ExpressionWrapper(Cast(Value(today), models.DateField()) - Subquery(longest), models.DateField())

    def in_renewal_state(self, state: str, today: date):
        """Return the periods in a state that staff follow up for renewals.

        `state` is a status, or `lapsed` (ended in the last 30 days), or `due` (ends within 7 days). The last two leave
        out periods with a later one of the same member and group; `due` also leaves out members who said they leave.
        """
        later = self._granted_of_same_group().filter(ends_on__gt=OuterRef("ends_on"))
        if state == "due":
            soon = today + timedelta(days=7)
            return self.running_on(today).filter(~Exists(later), ends_on__lte=soon, leaving_at__isnull=True)
        if state != "lapsed":
            return self.with_status_inputs(today).having_status(state, today)
        # Expired. That no period follows is checked once, by `later`, and not again by the status.
        ended = (
            self.with_status_inputs(today).granted().filter(ends_on__lte=today, ends_on__gt=today - timedelta(days=30))
        )
        return ended.filter(Q(grace_ends_on__lte=today) | ENDS_WITHOUT_GRACE, ~Exists(later))

    def first_of_members(self):
        """Return the first granted period of each member. Its start is when the member joined."""
        earlier = self.model._default_manager.filter(
            Q(starts_on__lt=OuterRef("starts_on")) | Q(starts_on=OuterRef("starts_on"), pk__lt=OuterRef("pk")),
            fact="granted",
            member=OuterRef("member"),
        )
        return self.granted().filter(~Exists(earlier))

    def with_renewal(self, today: date):
        """Annotate `renewal`: "renewed", "left" or "".

        A period is renewed if a later one of the same member and group was granted, and left if it ended without one.
        """
        later = self._granted_of_same_group().filter(starts_on__gte=OuterRef("ends_on"))
        return self.annotate(
            renewal=Case(
                When(Exists(later), then=Value("renewed")),
                When(ends_on__lte=today, then=Value("left")),
                default=Value(""),
                output_field=models.CharField(),
            )
        )


class PlanQuerySet(models.QuerySet):
    """Plans. Members see those on sale; a Trainer or above sees all."""

    def visible_to(self, user):
        return self if is_at_least(user, Role.TRAINER) else self.filter(is_on_sale=True)


class FreezeQuerySet(models.QuerySet):
    """Freezes. The end of a freeze is `until`, which is earlier than `ends_on` if it was ended early."""

    def with_last_day(self):
        return self.annotate(until=Coalesce("ended_early_on", "ends_on"))

    def covering(self, day: date):
        """Return the freezes that cover the day. The condition on `ends_on` is redundant, and uses its index."""
        return self.with_last_day().filter(starts_on__lte=day, ends_on__gt=day, until__gt=day)
