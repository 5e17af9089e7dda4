// The member's home page: running periods, open payments, credit, and freezes.

import { call } from "../api.js";
import { action, addDays, day, field, form, h, link, money, title, today } from "../dom.js";
import { whoAmI } from "../session.js";

/** @type {Record<import("../types").Subscription["status"], string>} */
const WORDS = {
  active: "Active", grace: "Please renew", frozen: "Frozen", exhausted: "All visits used", scheduled: "Not begun yet",
  pending: "Not paid yet", expired: "Over", cancelled: "Cancelled", revoked: "Ended: the payment went back",
};
/** @type {import("../types").Subscription["status"][]} */
const RUNNING = ["active", "grace", "frozen", "exhausted", "scheduled"];
/** @type {import("../types").Payment["next_action"][]} */
const OWED = ["wait_for_phone", "pay", "pay_rest"];

export async function membership() {
  const me = await whoAmI();
  const section = h("section", {});

  async function show() {
    const [mine, payments, plans, { credit }] = await Promise.all([
      call("GET", "subscriptions/", { member: me.id }),
      call("GET", "payments/", { payer: me.id }),
      call("GET", "plans/", { page_size: 100 }),
      call("GET", "payments/credit/"),
    ]);
    const running = mine.filter(({ status }) => RUNNING.includes(status)).reverse();
    const owed = payments.filter(({ next_action }) => OWED.includes(next_action));
    const past = mine.filter(({ status }) => !RUNNING.includes(status) && status !== "pending");
    section.replaceChildren(...[
      title(`Habari, ${me.first_name}`),
      owed.length > 0 && toPay(owed),
      running.length > 0
        ? h("div", { class: "cards" }, running.map((each) => card(each, me, plans.find(({ code }) => code === each.plan.code), show)))
        : h("div", { class: "empty" }, h("p", { class: "lead" }, "You have no membership yet."), link("plans", "Choose a plan", { class: "main" })),
      running.length > 0 && !running.some(({ plan }) => plan.group.opens_gate)
        && h("p", { class: "notice" }, "Nothing of this opens the gate. ", link("plans", "Choose a membership")),
      credit > 0 && h("p", { class: "notice" }, `You have ${money(credit)} of credit. Your next purchase uses it.`),
      past.length > 0 && h("details", { class: "past" }, h("summary", {}, "Earlier"),
        h("ul", {}, past.map((each) => h("li", {}, `${each.plan.name}: ${over(each)}`)))),
    ].filter(Boolean));
  }

  await show();
  return section;
}

/**
 * How a period ended, in words. A period that was replaced on its first day has no days.
 * @param {import("../types").Subscription} period
 */
function over({ status, starts_on: starts, ends_on: ends }) {
  if (ends && ends <= starts) return `replaced on ${day(ends)}`;
  return `${WORDS[status].toLowerCase()}${ends ? `, ${day(addDays(ends, -1))}` : ""}`;
}

/** @param {import("../types").ListedPayment[]} owed */
function toPay(owed) {
  return h("section", { class: "owed" }, h("h2", {}, "Still to pay"),
    h("ul", {}, owed.map((payment) => h("li", {},
      h("span", {}, payment.description, " ", h("strong", {}, money(payment.amount_owed))),
      link(`payment/${payment.reference}`, "Pay", { class: "main", "aria-label": `Pay ${money(payment.amount_owed)} for ${payment.description}` })))));
}

/**
 * @param {import("../types").Subscription} subscription
 * @param {import("../types").Me} me
 * @param {import("../types").Plan | undefined} plan
 * @param {() => Promise<void>} show
 */
function card(subscription, me, plan, show) {
  const { status, starts_on: starts, ends_on: ends, visits, visits_used: used } = subscription;
  const lastDay = addDays(ends, -1);
  return h("article", { class: "membership" },
    h("div", { class: "card" },
      h("p", { class: `pill ${status}` }, WORDS[status]),
      h("h2", {}, subscription.plan.name),
      h("p", { class: "until" }, status === "scheduled" ? `From ${day(starts)} until ${day(lastDay)}` : h("span", {}, "until ", h("strong", {}, day(lastDay)))),
      visits && h("p", { class: "visits" }, `${visits - used} of ${visits} visits left`),
      h("p", { class: "number" }, h("span", {}, `${me.first_name} ${me.last_name}`), h("span", {}, h("span", { class: "unseen" }, "Member number "), me.member_number))),
    freezes(subscription, plan, show),
    plan && h("p", { class: "after" }, link(`buy/${plan.code}`, status === "grace" ? "Renew now" : "Buy the next period", { class: status === "grace" ? "main" : "" })));
}

/**
 * @param {import("../types").Subscription} subscription
 * @param {import("../types").Plan | undefined} plan
 * @param {() => Promise<void>} show
 */
function freezes(subscription, plan, show) {
  const { id, ends_on: ends, status } = subscription;
  const open = subscription.freezes.find((each) => !each.ended_early_on && each.ends_on > today());
  if (open) {
    const words = `Frozen from ${day(open.starts_on)} until ${day(addDays(open.ends_on, -1))}. The days come back at the end.`;
    return h("div", { class: "freeze" }, h("p", {}, words),
      action(open.starts_on <= today() ? "I am back: end the freeze" : "Cancel the freeze", async () => {
        await call("POST", `subscriptions/${id}/unfreeze/`);
        await announce("The freeze has ended.", show);
      }, { class: "plain" }));
  }
  if (status !== "active" || !plan?.max_freezes) return null;
  return h("details", { class: "freeze" },
    h("summary", {}, "Going away? Freeze it"),
    form([
      h("div", { class: "pair" },
        field("starts_on", "First day away", { type: "date", min: today(), max: addDays(ends, -1), value: today() }),
        field("ends_on", "Last day away", { type: "date", min: today(), value: today(plan.max_freeze_days - 1) })),
      h("p", { class: "hint" }, `Up to ${plan.max_freeze_days} days. They come back at the end.`),
    ], {
      button: "Freeze",
      async submit({ starts_on, ends_on }) {
        await call("POST", `subscriptions/${id}/freeze/`, { starts_on, ends_on: addDays(ends_on, 1) });
        await announce("Your membership is frozen.", show);
      },
    }));
}

async function announce(text, show) {
  await show();
  document.querySelector("#announcements").textContent = text;
}
