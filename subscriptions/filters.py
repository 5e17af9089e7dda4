"""Filters of the list of subscriptions."""

import django_filters

from api import clock
from api.business_days import business_day
from api.filters import DayFilter, StrictFilterSet
from subscriptions.models import Subscription
from subscriptions.statuses import Status


class SubscriptionFilter(StrictFilterSet):
    """Query parameters, such as `?status=active&plan=monthly&group=1&ends_before=2027-03-01&member=7`."""

    status = django_filters.ChoiceFilter(choices=Status.choices, method="filter_status")
    plan = django_filters.CharFilter(field_name="plan__code")
    ends_before = DayFilter(field_name="ends_on", lookup_expr="lt")
    ends_after = DayFilter(field_name="ends_on", lookup_expr="gt")

    class Meta:
        model = Subscription
        fields = ["status", "plan", "group", "member", "ends_before", "ends_after"]

    def filter_status(self, queryset, name, value):
        return queryset.having_status(value, business_day(clock.now()))
