"""What staff do for a member on the member page: each form checks what is typed, and makes one call of a service."""

from config.desk.actions.access import LostForm
from config.desk.actions.acts import MemberAct
from config.desk.actions.money import ClaimForm, PromptForm, RefundForm, SellForm, TakeForm
from config.desk.actions.time import FreezeForm, GiftForm, UnfreezeForm

__all__ = ["ACTS", "MemberAct"]

# In the order in which the page offers them.
ACTS: dict[str, type[MemberAct]] = {
    act.name: act
    for act in (
        *(SellForm, PromptForm, TakeForm, ClaimForm),
        *(FreezeForm, UnfreezeForm, GiftForm),
        *(RefundForm, LostForm),
    )
}
