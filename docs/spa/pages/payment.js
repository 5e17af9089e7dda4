// One payment. While its push is open, the page requests the payment repeatedly, and then shows the result.

import { call } from "../api.js";
import { club } from "../club.js";
import { action, addDays, day, field, form, h, link, localPhone, money, title } from "../dom.js";
import * as phone from "../phone.js";
import { whoAmI } from "../session.js";

/** @typedef {import("../types").Payment} Payment */
/** @typedef {import("../types").Receipt} Receipt */

/** The text for a receipt without a code or number. @type {Partial<Record<Receipt["channel"], string>>} */
const NO_NUMBER = { mpesa_stk: "M-Pesa has not told us the code yet" };

const SHORTEST_PAUSE = 1000; // milliseconds
const LONGEST_PAUSE = 6000;

/**
 * @param {string} reference
 * @param {AbortSignal} signal
 */
export async function payment(reference, signal) {
  const section = h("section", { class: "narrow payment" });

  /** @param {Payment} found */
  async function show(found) {
    const content = await PAGES[found.next_action](found, show);
    if (signal.aborted) return;
    const isChange = section.hasChildNodes();
    section.replaceChildren(...content.filter(Boolean));
    if (isChange) {
      phone.close();
      announce(section);
    }
    if (found.next_action === "wait_for_phone") {
      follow(reference, signal).then(show).catch((error) => signal.aborted || section.append(h("p", { class: "error", role: "alert" }, error.message)));
    }
  }

  await show(await call("GET", `payments/${reference}/`));
  return section;
}

/** @type {Record<Payment["next_action"], (found: Payment, show: (found: Payment) => Promise<void>) => any>} */
const PAGES = {
  wait_for_phone: waiting,
  pay: toPay,
  pay_rest: toPay,
  buy_again: over,
  done: (found) => (found.status === "paid" ? paid(found) : over(found)),
};

/**
 * Return the payment when its push has ended. It is requested less and less often, and not while the page is hidden.
 * @param {string} reference
 * @param {AbortSignal} signal
 */
async function follow(reference, signal) {
  let hasRung = false;
  for (let pause = SHORTEST_PAUSE; ; pause = Math.min(pause * 1.3, LONGEST_PAUSE)) {
    await sleep(pause, signal);
    await untilVisible(signal);
    try {
      const found = await call("GET", `payments/${reference}/`);
      if (found.next_action !== "wait_for_phone") return found;
      if (!hasRung && newest(found.pushes)?.status === "sent") {
        phone.ring();
        hasRung = true;
      }
    } catch (error) {
      const isTemporary = error.status === 0 || error.status === 429 || error.status >= 500;
      if (!isTemporary) throw error;
      await sleep((error.retryAfter ?? 0) * 1000, signal);
    }
  }
}

/** @param {Payment} found */
function waiting(found) {
  const push = newest(found.pushes);
  return [
    h("div", { class: "ring", "aria-hidden": "true" }, h("div", { class: "ring-phone" })),
    title("Look at your phone"),
    h("p", { class: "lead" }, push?.message ?? "M-Pesa asks for your PIN."),
    summary(found),
    h("p", { class: "hint" }, "This page goes on by itself."),
  ];
}

/** @param {Payment} found */
async function paid(found) {
  const [me, bought] = await Promise.all([whoAmI(), boughtWith(found)]);
  return [
    h("div", { class: "tick-mark", "aria-hidden": "true" }),
    title(`Karibu, ${me.first_name}!`),
    h("p", { class: "lead" }, bought?.ends_on ? runs(bought, me) : "Your payment has arrived."),
    h("dl", { class: "facts" },
      fact("Bought", found.description),
      fact("Paid", money(found.amount_paid)),
      found.receipts.map((receipt) => fact("Receipt", receipt.code ?? receipt.number ?? NO_NUMBER[receipt.channel]))),
    h("div", { class: "buttons" },
      link("membership", "See my membership", { class: "main" }), link("receipts", "Receipts", { class: "plain" })),
  ];
}

/** @param {Payment} found */
const boughtWith = async (found) => (await call("GET", "subscriptions/", { search: found.reference }))[0];

/**
 * Until when the bought period lets its member in. A plan that opens no gate, such as a locker, is only named.
 * @param {import("../types").Subscription} bought
 * @param {import("../types").Me} me
 */
function runs({ status, starts_on: starts, ends_on: ends, plan, member }, me) {
  if (ends <= starts) return `${plan.name} was replaced on ${day(starts)}.`;
  const [from, until] = [day(starts), day(addDays(ends, -1))];
  if (status === "scheduled") return from === until ? `It is for ${from}.` : `It begins on ${from} and lasts until ${until}.`;
  if (status !== "active" || !plan.group.opens_gate) return `${plan.name} lasts until ${until}.`;
  return member.id === me.id ? `You are in until ${until}.` : `${member.first_name} is in until ${until}.`;
}

/**
 * @param {Payment} found
 * @param {(found: Payment) => Promise<void>} show
 */
async function toPay(found, show) {
  const [me, payee, bought] = await Promise.all([whoAmI(), club(), boughtWith(found)]);
  const push = newest(found.pushes);
  const hasMoneySince = found.receipts.some(({ paid_at }) => paid_at > push?.created_at);
  const ended = push && !push.is_open && push.status !== "succeeded" && !hasMoneySince;
  return [
    title(found.next_action === "pay_rest" ? `${money(found.amount_owed)} to go` : ended ? "Not paid yet" : "Pay with M-Pesa"),
    ended && h("p", { class: "lead notice" }, push.message),
    found.next_action === "pay_rest" && h("p", { class: "lead" }, `${money(found.amount_paid)} has arrived. Thank you. ${bought?.ends_on ? runs(bought, me) : ""}`),
    summary(found),
    form([
      field("phone_number", "M-Pesa phone number", {
        type: "tel", autocomplete: "tel", value: localPhone(me.phone_number ?? ""), placeholder: "0712 345 678",
        hint: "Another phone may pay too.",
      }),
    ], {
      button: ended ? "Try again" : `Pay ${money(found.amount_owed)}`,
      async submit({ phone_number }) {
        phone.show(phone_number);
        await show(await call("POST", `payments/${found.reference}/push/`, { phone_number }));
      },
      also: Boolean(bought) && found.amount_paid === 0 && action("Cancel the purchase", async () => {
        await show(await call("POST", `payments/${found.reference}/cancel/`));
      }, { class: "plain" }),
    }),
    byHand(found, payee, show),
  ];
}

/**
 * How to pay by hand. A till takes no account number: there the payer's phone number or the code identifies the member.
 * @param {Payment} found
 * @param {import("../types").Club} payee
 * @param {(found: Payment) => Promise<void>} show
 */
function byHand(found, { paybill, till }, show) {
  const status = h("p", { class: "hint", role: "status" });
  const look = async () => {
    const seen = await call("GET", `payments/${found.reference}/`);
    if (seen.next_action !== found.next_action || seen.amount_owed !== found.amount_owed) await show(seen);
    else status.textContent = "The money is not here yet. It takes a minute; after that, show M-Pesa's message at the desk: they find it by its code.";
  };
  return h("section", { class: "by-hand" },
    h("h2", {}, "Or pay by hand"),
    h("p", {}, `On your phone: M-Pesa › Lipa na M-Pesa › ${till ? "Buy Goods and Services" : "Pay Bill"}`),
    h("dl", { class: "facts" },
      till ? fact("Till number", till) : fact("Business number", paybill),
      !till && fact("Account number", found.reference),
      fact("Amount", money(found.amount_owed))),
    till && h("p", { class: "hint" }, "Pay from the phone number that you joined with; from another, show M-Pesa's message at the desk."),
    action("I have paid", look, { class: "plain" }), status);
}

/** @param {Payment} found */
function over(found) {
  const words = {
    cancelled: ["Purchase cancelled", "Money that you paid for it is your credit. Choose your plan again to use it."],
    expired: ["This took too long", "Please choose your plan again. Money that still arrives is not lost: it pays for this purchase."],
    refunded: ["Refunded", "The money was given back to you."],
  };
  const [heading, sentence] = words[found.status];
  return [title(heading), h("p", { class: "lead" }, sentence), summary(found), link("plans", "See the plans", { class: "main" })];
}

/** @param {Payment} found */
function summary(found) {
  return h("dl", { class: "facts" },
    fact("For", found.description), fact("Amount", money(found.amount_owed || found.amount_due)), fact("Account", found.reference));
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
/** @param {Payment["pushes"]} pushes */
const newest = (pushes) => pushes.reduce((latest, each) => (latest && latest.id > each.id ? latest : each), null);

function announce(section) {
  const words = [...section.querySelectorAll("h1, .lead")].map((element) => element.textContent.replace(/[^.!?]$/, "$&."));
  document.querySelector("#announcements").textContent = words.join(" ");
  section.querySelector("h1").focus();
}

// Both end with an AbortError as soon as the visitor leaves the page.
/** @type {(milliseconds: number, signal: AbortSignal) => Promise<void>} */
const sleep = (milliseconds, signal) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
});

/** @type {(signal: AbortSignal) => Promise<void>} */
const untilVisible = (signal) => new Promise((resolve, reject) => {
  if (!document.hidden) return resolve();
  document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
});
