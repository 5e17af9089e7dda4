// What is bought, and whose phone is asked for the money.

import { call } from "../api.js";
import { field, form, h, link, localPhone, money, period, title } from "../dom.js";
import * as phone from "../phone.js";
import { whoAmI } from "../session.js";
import { perks } from "./plans.js";

export async function buy(code) {
  const [me, onSale] = await Promise.all([whoAmI(), call("GET", "plans/", { page_size: 100 })]);
  const plan = onSale.find((each) => each.code === code);
  if (!plan) {
    return h("section", { class: "narrow" }, title("This plan is not on sale"), link("plans", "See the plans", { class: "main" }));
  }
  return h("section", { class: "narrow" },
    title(plan.name),
    h("div", { class: "plan chosen" },
      h("p", { class: "price" }, h("strong", {}, money(plan.price)), ` for ${plan.visits ? `${plan.visits} visits` : period(plan)}`),
      h("ul", { class: "perks" }, perks(plan))),
    form([
      field("phone_number", "M-Pesa phone number", {
        type: "tel", autocomplete: "tel", value: localPhone(me.phone_number ?? phone.lend()), placeholder: "0712 345 678",
        hint: "M-Pesa asks this phone for your PIN.",
      }),
    ], {
      button: plan.joining_fee ? "Pay with M-Pesa" : `Pay ${money(plan.price)}`,
      async submit({ phone_number }) {
        phone.show(phone_number);
        const answer = await call("POST", "subscriptions/", { plan: plan.code, phone_number });
        const [bought] = [answer].flat(); // several, when it is for several members
        location.hash = `#payment/${bought.payment.reference}`;
      },
      also: link("plans", "Another plan", { class: "plain" }),
    }));
}
