"""The money of a span of time: received by channel, refunded by account, and the net.

The dashboard, the charts and the day page all show these sums. Money counts when it moved, a refund when it was made,
so that the sums of a day do not change when a receipt is refunded later. A reversed receipt never counts.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet, Sum

from payments.models import Channel, Receipt, Refund

# An opening balance is money that the club took before this system.
MONEY: dict[Channel, str] = {each: str(each.label) for each in Channel if each != Channel.OPENING}

Span = tuple[datetime, datetime | None]  # from, and before; without an end if None


@dataclass(frozen=True)
class Sums:
    """The sums of one span, as (whole KES, number of rows). A channel or account without money is left out."""

    received: dict[Channel, tuple[int, int]]
    refunded: dict[str, tuple[int, int]]

    @property
    def gross(self) -> int:
        return sum(total for total, _ in self.received.values())

    @property
    def refunds(self) -> int:
        return sum(total for total, _ in self.refunded.values())

    @property
    def net(self) -> int:
        return self.gross - self.refunds


def sums_of(spans: dict[str, Span]) -> dict[str, Sums]:
    """Return the sums of each span, by two queries. The keys of `spans` are names of columns."""
    received = _grouped(live_receipts(), "channel", "paid_at", spans)
    refunded = _grouped(Refund.objects.all(), "paid_from", "made_at", spans)
    return {
        name: Sums({Channel(channel): sums for channel, sums in received[name].items()}, refunded[name])
        for name in spans
    }


def live_receipts() -> QuerySet[Receipt]:
    """Return the receipts that count as received money."""
    return Receipt.objects.filter(channel__in=MONEY, reversed_at__isnull=True)


def _grouped(rows: QuerySet, group: str, moment: str, spans: dict[str, Span]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return for each span the sum and the number of rows by `group`."""
    within = {
        name: Q(**{f"{moment}__gte": begins}) & (Q() if ends is None else Q(**{f"{moment}__lt": ends}))
        for name, (begins, ends) in spans.items()
    }
    rows = rows.filter(**{f"{moment}__gte": min(begins for begins, _ in spans.values())})
    if all(ends for _, ends in spans.values()):
        rows = rows.filter(**{f"{moment}__lt": max(ends for _, ends in spans.values() if ends)})
    totals = {f"{name}_total": Sum("amount", filter=condition, default=0) for name, condition in within.items()}
    counts = {f"{name}_count": Count(group, filter=condition) for name, condition in within.items()}
    found = list(rows.order_by(group).values(group).annotate(**totals, **counts))
    return {
        name: {row[group]: (row[f"{name}_total"], row[f"{name}_count"]) for row in found if row[f"{name}_count"]}
        for name in spans
    }
