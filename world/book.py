"""The world's book: every shilling that left a phone. It is the truth that the product's books are compared with."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(eq=False)
class Money:
    """Money that a phone has sent to the paybill.

    `meant_for`: the id of the member whom the payer wants to pay for. `names_owner`: whether the typed account proves
    this member. `reports`: how often its confirmation has reached the product; 0 while it is on its way.
    """

    code: str
    amount: int
    phone: str
    account: str
    moved_at: datetime
    meant_for: int
    names_owner: bool
    reports: int = 0


@dataclass
class Book:
    """All money of the world, by its M-Pesa code."""

    money: dict[str, Money] = field(default_factory=dict)

    def send(self, **details) -> Money:
        """Write down new money under an unused code."""
        money = Money(code=f"SIM{len(self.money):07X}", **details)
        self.money[money.code] = money
        return money
