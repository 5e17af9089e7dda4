// The price list. For visitors it is also the front page of the club.

import { call } from "../api.js";
import { club } from "../club.js";
import { h, link, money, period, title } from "../dom.js";
import { whoAmI } from "../session.js";

export async function plans() {
  const [me, onSale, { name }] = await Promise.all([whoAmI(), call("GET", "plans/", { page_size: 100 }), club()]);
  const groups = Map.groupBy
    ? [...Map.groupBy(onSale, (plan) => plan.group.name).values()]
    : [...new Set(onSale.map((plan) => plan.group.name))].map((name) => onSale.filter((plan) => plan.group.name === name));
  groups.sort(([one], [other]) => Number(other.group.opens_gate) - Number(one.group.opens_gate));
  return h("div", {},
    me ? title("Plans") : hero(name),
    groups.map((group) => h("section", { class: "group" },
      h("h2", {}, group[0].group.name),
      h("ul", { class: "plans" }, group.map(card)))));
}

function hero(name) {
  return h("section", { class: "hero" },
    h("p", { class: "over" }, `${name} · Nairobi`),
    title("Strong starts here."),
    h("p", { class: "lead" }, "Choose a plan, pay with M-Pesa, walk in. It takes a minute."));
}

/** @param {import("../types").Plan} plan */
function card(plan) {
  return h("li", { class: "plan" },
    h("h3", {}, plan.name),
    h("p", { class: "price" }, h("strong", {}, money(plan.price)), ` ${plan.visits ? `for ${plan.visits} visits` : `for ${period(plan)}`}`),
    h("ul", { class: "perks" }, perks(plan)),
    link(`buy/${plan.code}`, "Choose", { class: "main", "aria-label": `Choose ${plan.name}` }));
}

/**
 * The features of a plan, as list items.
 * @param {import("../types").Plan} plan
 */
export function perks(plan) {
  const hour = (text) => text.slice(0, 5);
  const lines = [
    plan.group.opens_gate && (plan.opens_at ? `Come from ${hour(plan.opens_at)} to ${hour(plan.closes_at)}` : "Come whenever we are open"),
    plan.visits && `Use them within ${period(plan).replace(/^a /, "one ")}`,
    plan.max_freezes > 0 && `Freeze it for up to ${plan.max_freeze_days} days when you travel`,
    plan.grace_days > 0 && `Still let in for ${plan.grace_days} days when you renew late`,
  ].filter(Boolean).map((line) => h("li", {}, line));
  const fee = plan.joining_fee > 0 && h("li", { class: "fee" }, `${money(plan.joining_fee)} joining fee, the first time only`);
  return [...lines, fee];
}
