// Elements, forms that show the API's errors, and the formats of money and days.

import { ApiError } from "./api.js";

/** Create an element: h("button", { class: "main", onclick: go }, "Pay"). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A link to another page of this application: link("receipts", "Receipts"). */
export const link = (page, text, attributes = {}) => h("a", { href: `#${page}`, ...attributes }, text);

/** A page's heading. It gets the focus when the page changes, so that a screen reader continues there. */
export const title = (text) => h("h1", { tabindex: -1 }, text);

/** A button that is busy until its promise is settled, and shows an error below. */
export function action(text, act, attributes = {}) {
  const message = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "button", ...attributes, onclick: () => busy(button, message, act) }, text);
  return h("div", { class: "action" }, button, message);
}

/**
 * A labelled input. The `hint` and an error of the API for `name` are shown below it.
 * @param {string} name
 * @param {string | (string | Node)[]} label
 * @param {Record<string, any>} [options] the hint, and attributes of the input
 */
export function field(name, label, { hint = "", ...attributes } = {}) {
  const id = `field-${name}`;
  const input = h("input", { id, name, "aria-describedby": `${id}-hint ${id}-error`, required: true, ...attributes });
  const row = input.type === "checkbox"
    ? [h("label", { class: "tick", for: id }, input, h("span", {}, label))]
    : [h("label", { for: id }, label), input];
  return h("div", { class: "field" }, row,
    h("p", { class: "hint", id: `${id}-hint` }, hint), h("p", { class: "error", id: `${id}-error` }));
}

/**
 * A form. `submit` gets the values by name. If it throws an ApiError, the message is shown beside the field that the error
 * names, or above the button.
 */
export function form(fields, { button, submit, also = null }) {
  const alert = h("p", { class: "error", role: "alert" });
  const send = h("button", { class: "main" }, button);
  const made = h("form", { novalidate: true }, fields, alert, h("div", { class: "buttons" }, send, also));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const inputs = [...made.elements].filter((input) => input.name);
    for (const input of inputs) showError(input, input.validity.valid ? "" : input.validationMessage);
    if (focusFirstInvalid(made)) return;
    const values = Object.fromEntries(inputs.map((input) => [
      input.name, input.type === "checkbox" ? input.checked : input.type === "file" ? input.files[0] : input.value,
    ]));
    busy(send, alert, () => submit(values), (error) => {
      const others = error.details.filter(({ field: name, message }) => !showError(made.elements[name], message));
      focusFirstInvalid(made);
      return others.length === 0 && error.details.length > 0 ? "" : (others[0]?.message ?? error.message);
    });
  });
  return made;
}

function showError(input, message) {
  if (!input) return false;
  input.setAttribute("aria-invalid", String(Boolean(message)));
  document.getElementById(`${input.id}-error`).textContent = message;
  return true;
}

function focusFirstInvalid(inside) {
  const invalid = inside.querySelector('[aria-invalid="true"]');
  invalid?.focus();
  return invalid;
}

async function busy(button, alert, act, explain = (error) => error.message) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  alert.textContent = "";
  try {
    await act();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    alert.textContent = explain(error);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

// --- Formats ----------------------------------------------------------------------------------------------------

/** KES 2,500 */
export const money = (shillings) => `KES ${shillings.toLocaleString("en-KE")}`;

/** "Thu 24 Dec 2026", for a day ("2026-12-24") or a time. The time zone is Nairobi's, not the browser's. */
export const day = (text) => new Date(text).toLocaleDateString("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "Africa/Nairobi",
}).replace(",", "");

/** "24 Dec, 17:05" */
export const moment = (text) => new Date(text).toLocaleString("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "Africa/Nairobi",
});

/** Today in Nairobi, plus some days, as "2026-12-24". */
export const today = (plus = 0) => addDays(
  new Date().toLocaleDateString("en-CA", { timeZone: "Africa/Nairobi" }), plus);

export function addDays(date, days) {
  const moved = new Date(`${date}T00:00:00Z`);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}

/**
 * "a month", "3 months"
 * @param {{ interval: string, interval_count?: number }} plan
 */
export const period = ({ interval, interval_count: count }) => {
  const unit = interval.replace(/s$/, "");
  return count === 1 ? `a ${unit}` : `${count} ${unit}s`;
};

/** 0712 345 678 for 254712345678 */
export const localPhone = (phone) => phone.replace(/^254(\d{3})(\d{3})(\d{3})$/, "0$1 $2 $3");
