// The member's receipts, newest first.

import { answer, call } from "../api.js";
import { club } from "../club.js";
import { action, h, link, moment, money, title } from "../dom.js";
import { whoAmI } from "../session.js";

/** @type {Record<import("../types").Receipt["channel"], string>} */
const CHANNELS = { mpesa_stk: "M-Pesa", mpesa_c2b: "M-Pesa Pay bill", cash: "Cash", bank: "Bank", opening: "Opening balance" };

const WITH_PDF = ["mpesa_stk", "mpesa_c2b", "cash", "bank"]; // the channels of money

export async function receipts() {
  const [me, payee] = await Promise.all([whoAmI(), club()]);
  const rows = h("tbody");
  const more = h("div");

  async function load(query) {
    const { data, meta } = await answer("GET", "receipts/", query);
    rows.append(...data.map(row));
    const { next } = meta.pagination;
    more.replaceChildren(...next ? [action("Show more", () => load(Object.fromEntries(new URL(String(next), location.href).searchParams)), { class: "plain" })] : []);
  }

  await load({ member: me.id });
  if (!rows.hasChildNodes()) {
    return h("section", { class: "narrow" }, title("Receipts"), h("div", { class: "empty" },
      h("p", { class: "lead" }, "Nothing paid yet."), link("plans", "Choose a plan", { class: "main" })), missing(me, payee));
  }
  return h("section", {}, title("Receipts"),
    h("table", {}, h("thead", {}, h("tr", {}, ["When", "Receipt", "How", "For", "Amount"].map((name) => h("th", { scope: "col" }, name)))), rows),
    more, missing(me, payee));
}

/**
 * The hint for a payment that is not here yet, also when nothing is owed, and for paying in advance.
 * @param {import("../types").Me} me
 * @param {import("../types").Club} payee
 */
const missing = (me, { paybill }) => h("p", { class: "hint missing" },
  paybill && `Money that you send to Pay Bill ${paybill} with your member number ${me.member_number} as account becomes credit for your next purchase. `,
  "You have paid, and it is not here after a minute? Show M-Pesa's message at the desk: they find it by its code.");

/** @param {import("../types").Receipt} receipt */
function row(receipt) {
  const uses = receipt.payments.map(({ reference }) => link(`payment/${reference}`, reference));
  const cells = {
    When: moment(receipt.paid_at),
    Receipt: [h("code", {}, receipt.code ?? receipt.number ?? "–"), WITH_PDF.includes(receipt.channel) && pdfButton(receipt)],
    How: CHANNELS[receipt.channel],
    For: receipt.reversed_at ? "Went back" : [...uses, receipt.amount_left > 0 && `${money(receipt.amount_left)} credit`],
    Amount: money(receipt.amount),
  };
  return h("tr", { class: receipt.reversed_at && "reversed" },
    Object.entries(cells).map(([name, value]) => h("td", { "data-name": name }, value)));
}

/**
 * Open the receipt as a PDF. The browser's own request cannot refresh the session, so an API call that can is made first.
 * @param {import("../types").Receipt} receipt
 */
function pdfButton({ id, code, number }) {
  return action("PDF", async () => {
    await call("GET", "auth/me/");
    location.assign(`/api/v1/receipts/${id}/pdf/`);
  }, { class: "paper", "aria-label": `Receipt ${code ?? number} as PDF` });
}
