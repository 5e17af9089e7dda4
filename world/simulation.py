"""The simulation: a queue of acts in simulated time, chosen by a random generator with a fixed seed.

A journey is an order, a payment or a tap. The same seed gives the same acts, so a broken promise can be played again.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from payments.services.cancellation import expire_due
from subscriptions.gate import Answer, Reason
from subscriptions.models import Decision, Visit
from world import checks, club, safaricom
from world.book import Book, Money

BEGIN = datetime(2025, 1, 1, 5, 0, tzinfo=UTC)  # in the past: audit_books refuses money from the future
STEPS_BETWEEN_AUDITS = 500
TAPS_A_WEEK = 2


class World:
    """A club with `members` members who act until `journeys` journeys are over."""

    def __init__(self, *, seed: int, members: int) -> None:
        """Open the club in an empty database."""
        self.random = Random(seed)  # noqa: S311  a game, no secret
        self.now = BEGIN
        self.book = Book()
        self.counts: Counter[str] = Counter()
        plans = club.open_club()
        self.manager_id = club.hire(BEGIN)
        self.members = [club.join(index, self.random.choice(plans), BEGIN) for index in range(members)]
        self._queue: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._unchecked: set[Money] = set()
        for member in self.members:
            self.later(self._within(timedelta(days=7)), lambda member=member: self.visit(member))
        self.later(timedelta(hours=3), self.open_desk)

    def play(self, journeys: int, progress: Callable[[int], None] = lambda journeys: None) -> None:
        """Play until `journeys` journeys are over and no money is on its way, then check everything.

        :raises checks.BrokenPromise: the product has broken a promise
        """
        steps = 0
        while self.journeys < journeys:
            self.step()
            steps += 1
            if steps % STEPS_BETWEEN_AUDITS == 0:
                checks.invariants_hold()
                progress(self.journeys)
        for money in self.book.money.values():
            if not money.reports:
                safaricom.deliver(money, random=self.random, now=self.now)
        club.assign_unmatched(self.book, by_id=self.manager_id, now=self.now)
        checks.money_is_in_the_books(self.book.money.values())
        checks.invariants_hold()

    @property
    def journeys(self) -> int:
        """The number of orders, payments and taps until now."""
        return sum(self.counts[name] for name in ("orders", "payments", "taps"))

    def step(self) -> None:
        """Do the next act, and check the money that it touched."""
        at, _, act = heapq.heappop(self._queue)
        self.now = max(self.now, at)
        act()
        checks.money_is_in_the_books(self._unchecked)
        self._unchecked.clear()

    def later(self, delay: timedelta, act: Callable[[], None]) -> None:
        """Queue an act."""
        heapq.heappush(self._queue, (self.now + delay, next(self._number), act))

    def _within(self, longest: timedelta) -> timedelta:
        return timedelta(seconds=self.random.randrange(int(longest.total_seconds())))

    def _happens(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- The machine and the desk -----------------------------------------------------------------

    def open_desk(self) -> None:
        """Each morning: expire old orders, and assign the money whose payers have called."""
        expire_due(now=self.now)
        self.counts["assigned"] += club.assign_unmatched(self.book, by_id=self.manager_id, now=self.now)
        self.later(timedelta(days=1), self.open_desk)

    # --- Members ----------------------------------------------------------------------------------

    def visit(self, member: club.Member) -> None:
        """Tap at the gate. Without a membership, order one; when the gate asks for money, pay now, later, or never."""
        answer = self.tap(member)
        if answer.decision == Decision.DENY:
            if answer.amount_to_pay is None:
                asked = club.order(member, self.now)
                self.counts["orders"] += 1
            else:
                asked = (answer.amount_to_pay, str(answer.reference))
            if self._happens(0.7):
                self.pay_and_enter(member, *asked)
            elif self._happens(0.8):
                self.pay_oddly(member, *asked)
        elif self._happens(0.05):
            self.pay(member, member.plan.price, member.number)  # before the end
        self.later(self._within(timedelta(days=14 // TAPS_A_WEEK)), lambda: self.visit(member))

    def tap(self, member: club.Member) -> Answer:
        """Tap at the gate, and check the answer against the money."""
        self.counts["taps"] += 1
        answer = club.tap(member, self.now)
        if answer.decision == Decision.ALLOW:
            visit = Visit.objects.filter(member=member.id).select_related("subscription__payment").latest("at", "pk")
            checks.access_is_paid(visit.subscription, self.book)
        elif answer.amount_to_pay is None and answer.reason != Reason.NO_SUBSCRIPTION:
            raise checks.BrokenPromise(
                f"{member} was refused although their credit of KES {club.credit(member)} is enough: {answer}"
            )
        return answer

    def pay_and_enter(self, member: club.Member, amount: int, account: str) -> None:
        """Pay the asked amount to the asked account, and tap again: the gate must open."""
        self.report(self.pay(member, amount, account))
        self.now += timedelta(minutes=2)
        answer = self.tap(member)
        if answer.decision != Decision.ALLOW:
            raise checks.BrokenPromise(f"{member} paid KES {amount} to {account}, but: {answer}")

    def pay_oddly(self, member: club.Member, amount: int, account: str) -> None:
        """Pay too little, too much, twice, from a friend's phone, or to a wrong account."""
        odd = self.random.choice(("short", "over", "twice", "friend", "typo"))
        self.counts[odd] += 1
        if odd == "short":
            self.pay(member, self.random.randint(1, amount), account)
        elif odd == "over":
            self.pay(member, amount + self.random.randint(1, amount), account)
        elif odd == "twice":
            self.pay(member, amount, account)
            self.pay(member, amount, account)
        elif odd == "friend":
            self.pay(member, amount, account, phone=self.random.choice(self.members).phone)
        else:
            self.pay(member, amount, self._mistype(account), is_typo=True)

    def pay(
        self, member: club.Member, amount: int, account: str, *, phone: str | None = None, is_typo: bool = False
    ) -> Money:
        """Send money to the paybill. Its confirmation comes at once, late, or twice."""
        self.counts["payments"] += 1
        money = self.book.send(
            amount=amount,
            phone=phone or member.phone,
            account=account,
            moved_at=self.now,
            meant_for=member.id,
            names_owner=not is_typo,
        )
        delay = timedelta(seconds=5) if self._happens(0.9) else self._within(timedelta(days=2))
        self.later(delay, lambda: self.report(money))
        if self._happens(0.05):
            self.later(delay + self._within(timedelta(days=2)), lambda: self.report(money))
        return money

    def report(self, money: Money) -> None:
        """Deliver the confirmation of the money."""
        safaricom.deliver(money, random=self.random, now=self.now)
        self._unchecked.add(money)

    def _mistype(self, account: str) -> str:
        """Return the account with one other digit, as a payer mistypes it."""
        places = [index for index, character in enumerate(account) if character.isdigit()]
        place = self.random.choice(places or [0])
        return account[:place] + str((int(account[place]) + 1) % 10 if places else 0) + account[place + 1 :]
