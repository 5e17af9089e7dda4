// The purchase of a plan, and the phone that gets the STK push.

import { call } from "../api.js";
import { addDays, day, field, form, h, link, localPhone, money, period, title, today } from "../dom.js";
import * as phone from "../phone.js";
import { whoAmI } from "../session.js";
import { perks } from "./plans.js";

export async function buy(code) {
  const me = await whoAmI();
  const [onSale, mine] = await Promise.all([
    call("GET", "plans/", { page_size: 100 }), call("GET", "subscriptions/", { member: me.id, page_size: 100 }),
  ]);
  const plan = onSale.find((each) => each.code === code);
  if (!plan) {
    return h("section", { class: "narrow" }, title("This plan is not on sale"), link("plans", "See the plans", { class: "main" }));
  }
  const before = runningBefore(mine.filter(({ plan: { group } }) => group.id === plan.group.id));
  return h("section", { class: "narrow" },
    title(plan.name),
    h("div", { class: "plan chosen" },
      h("p", { class: "price" }, h("strong", {}, money(plan.price)), ` for ${plan.visits ? `${plan.visits} visits` : period(plan)}`),
      h("ul", { class: "perks" }, perks(plan))),
    before && h("p", { class: "notice" },
      `You have ${before.plan.name} until ${day(addDays(before.ends_on, -1))}${before.status === "frozen" ? ", frozen now" : ""}. `,
      "What you buy here begins after it, on ", h("strong", {}, day(before.ends_on)), "."),
    form([
      field("phone_number", "M-Pesa phone number", {
        type: "tel", autocomplete: "tel", value: localPhone(me.phone_number ?? phone.unusedNumber()), placeholder: "0712 345 678",
        hint: "M-Pesa asks this phone for your PIN.",
      }),
    ], {
      button: plan.joining_fee ? "Pay with M-Pesa" : `Pay ${money(plan.price)}`,
      async submit({ phone_number }) {
        phone.show(phone_number);
        const answer = await call("POST", "subscriptions/", { plan: plan.code, phone_number });
        const [bought] = [answer].flat(); // a list if bought for several members
        location.hash = `#payment/${bought.payment.reference}`;
      },
      also: link("plans", "Another plan", { class: "plain" }),
    }));
}

/**
 * The last of the periods of a group that cover the days from today on without a gap; undefined when today is free.
 * @param {import("../types").Subscription[]} periods
 */
function runningBefore(periods) {
  const paid = periods.filter(({ status }) => ["active", "frozen", "exhausted", "scheduled"].includes(status));
  let last;
  for (const each of paid.sort((one, other) => one.starts_on.localeCompare(other.starts_on))) {
    if (each.starts_on <= (last?.ends_on ?? today())) last = each;
  }
  return last;
}
