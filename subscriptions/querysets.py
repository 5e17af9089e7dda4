"""Chainable questions to the subscriptions table."""

from datetime import date, timedelta

from django.apps import apps
from django.db import models
from django.db.models import Case, Count, Exists, ExpressionWrapper, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce

from api.permissions import is_at_least
from api.roles import Role
from subscriptions.statuses import Status

# Bought, and its money is waited for. Once the payment has expired nobody waits, although late money still grants it.
AWAITING_PAYMENT = Q(fact="pending") & ~Q(payment__status="expired")

VISITS_USED_UP = Q(visits__isnull=False, visits_used__gte=F("visits"))
HAS_VISITS_LEFT = Q(visits__isnull=True) | Q(visits_used__lt=F("visits"))
ENDS_WITHOUT_GRACE = Q(leaving_at__isnull=False) | Q(cut_on__isnull=False) | VISITS_USED_UP
NO_GRACE = ENDS_WITHOUT_GRACE | Q(is_followed=True)


def freezes_on(day: date):
    """Return the freezes that cover the day."""
    return apps.get_model("subscriptions", "Freeze").objects.covering(day)


def closures_on(day: date):
    """Return the closure of the whole club on the day."""
    return apps.get_model("subscriptions", "Closure").objects.filter(starts_on__lte=day, ends_on__gt=day)


class SubscriptionQuerySet(models.QuerySet):
    """Subscriptions, and what they are on a day."""

    def visible_to(self, user):
        """Return the caller's own and what they pay for, or everybody's for staff."""
        if is_at_least(user, Role.TRAINER):
            return self
        # Two lookups by index; an OR over two tables would read every row.
        mine, paid_by_me = self.model.objects.filter(member=user.pk), self.model.objects.filter(payment__payer=user.pk)
        return self.filter(pk__in=mine.values("pk").union(paid_by_me.values("pk")))

    def granted(self):
        return self.filter(fact="granted")

    def pending(self):
        return self.filter(fact="pending")

    def running_on(self, day: date):
        """Return the granted periods that cover the day, frozen or not."""
        return self.granted().filter(starts_on__lte=day, ends_on__gt=day)

    def with_status_inputs(self, today: date):
        """Annotate what status_on needs besides the row: is_frozen, is_followed, visits_used."""
        visits = apps.get_model("subscriptions", "Visit").objects.filter(decision="allow")
        later = self.model.objects.granted().filter(
            member=OuterRef("member"), group=OuterRef("group"), starts_on__gte=OuterRef("ends_on"), starts_on__lte=today
        )
        used = visits.filter(subscription=OuterRef("pk")).order_by().values("subscription").annotate(n=Count("pk"))
        return self.alias(
            grace_ends_on=ExpressionWrapper(F("ends_on") + F("grace_days"), output_field=models.DateField())
        ).annotate(
            is_frozen=Exists(freezes_on(today).filter(subscription=OuterRef("pk"))) | Exists(closures_on(today)),
            is_followed=Exists(later),
            # Counted for packs only: who comes daily for years is never counted.
            visits_used=Case(
                When(visits__isnull=False, then=Coalesce(Subquery(used.values("n")), 0)),
                default=0,
                output_field=models.IntegerField(),
            ),
        )

    def with_status(self, today: date):
        """Annotate `status` as `statuses.status_on` computes it, in SQL."""
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
        """Return the rows of with_status that have this status, by conditions that indexes answer.

        Nothing is computed of rows whose dates rule the status out.
        """
        running = Q(fact="granted", starts_on__lte=today, ends_on__gt=today)
        ended = Q(fact="granted", ends_on__lte=today)
        match status:
            case Status.SCHEDULED:
                return self.filter(fact="granted", starts_on__gt=today)
            case Status.FROZEN:
                # Asked beforehand: who is frozen alone would be no narrow question if the whole club might be.
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
        """Return the last day that is over for good: what ended by then has no grace left, however long any has."""
        longest = self.model.objects.granted().order_by("-grace_days").values("grace_days")[:1]
        return ExpressionWrapper(Cast(Value(today), models.DateField()) - Subquery(longest), models.DateField())

    def in_renewal_state(self, state: str, today: date):
        """Return the periods that are so today, for staff who look after renewals.

        `standing` is a status, or `lapsed` (over within 30 days), or `due` (over within 7); of the last two only those
        with no later period of the member and group, and `due` without those who said that they leave.
        """
        later = self.model.objects.granted().filter(
            member=OuterRef("member"), group=OuterRef("group"), ends_on__gt=OuterRef("ends_on")
        )
        if state == "due":
            soon = today + timedelta(days=7)
            return self.running_on(today).filter(~Exists(later), ends_on__lte=soon, leaving_at__isnull=True)
        if state != "lapsed":
            return self.with_status_inputs(today).having_status(state, today)
        # Expired; that none followed is asked once, of whatever begins when.
        ended = (
            self.with_status_inputs(today).granted().filter(ends_on__lte=today, ends_on__gt=today - timedelta(days=30))
        )
        return ended.filter(Q(grace_ends_on__lte=today) | ENDS_WITHOUT_GRACE, ~Exists(later))

    def first_of_members(self):
        """Return each member's first granted period: when they joined."""
        earlier = self.model.objects.granted().filter(
            Q(starts_on__lt=OuterRef("starts_on")) | Q(starts_on=OuterRef("starts_on"), pk__lt=OuterRef("pk")),
            member=OuterRef("member"),
        )
        return self.granted().filter(~Exists(earlier))

    def with_renewal(self, today: date):
        """Annotate `renewal`: renewed when a later period of the member and group was granted, left when it is over
        and none was, else empty."""
        later = self.model.objects.granted().filter(
            member=OuterRef("member"), group=OuterRef("group"), starts_on__gte=OuterRef("ends_on")
        )
        return self.annotate(
            renewal=Case(
                When(Exists(later), then=Value("renewed")),
                When(ends_on__lte=today, then=Value("left")),
                default=Value(""),
                output_field=models.CharField(),
            )
        )


class PlanQuerySet(models.QuerySet):
    """Plans; the price list shows what is on sale, staff see the rest too."""

    def visible_to(self, user):
        return self if is_at_least(user, Role.TRAINER) else self.filter(is_on_sale=True)


class FreezeQuerySet(models.QuerySet):
    """Freezes; one ended early lasted until then."""

    def with_last_day(self):
        return self.annotate(until=Coalesce("ended_early_on", "ends_on"))

    def covering(self, day: date):
        """Return those that cover the day; none lasts longer than was asked for, which has an index."""
        return self.with_last_day().filter(starts_on__lte=day, ends_on__gt=day, until__gt=day)
