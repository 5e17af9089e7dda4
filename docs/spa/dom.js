// Making elements, forms that speak the API's errors, and how money and days are written.

import { ApiError } from "./api.js";

/** Make an element: h("button", { class: "main", onclick: go }, "Pay"). */
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

/** A page's heading: it takes the focus when the page changes, so that a screen reader reads on from there. */
export const title = (text) => h("h1", { tabindex: -1 }, text);

/** A button that is busy while its promise is under way, and says below itself what went wrong. */
export function action(text, act, attributes = {}) {
  const said = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "button", ...attributes, onclick: () => busy(button, said, act) }, text);
  return h("div", { class: "action" }, button, said);
}

/**
 * A labelled input. `hint` stands below it; an error of the API for `name` too.
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
 * A form. `submit` gets the values by name; an ApiError it throws is shown where it belongs: beside the field it
 * names, or above the button.
 */
export function form(fields, { button, submit, also = null }) {
  const said = h("p", { class: "error", role: "alert" });
  const send = h("button", { class: "main" }, button);
  const made = h("form", { novalidate: true }, fields, said, h("div", { class: "buttons" }, send, also));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const inputs = [...made.elements].filter((input) => input.name);
    for (const input of inputs) complain(input, input.validity.valid ? "" : input.validationMessage);
    if (focusFirstWrong(made)) return;
    const values = Object.fromEntries(inputs.map((input) => [
      input.name, input.type === "checkbox" ? input.checked : input.type === "file" ? input.files[0] : input.value,
    ]));
    busy(send, said, () => submit(values), (error) => {
      const others = error.details.filter(({ field: name, message }) => !complain(made.elements[name], message));
      focusFirstWrong(made);
      return others.length === 0 && error.details.length > 0 ? "" : (others[0]?.message ?? error.message);
    });
  });
  return made;
}

function complain(input, message) {
  if (!input) return false;
  input.setAttribute("aria-invalid", String(Boolean(message)));
  document.getElementById(`${input.id}-error`).textContent = message;
  return true;
}

function focusFirstWrong(inside) {
  const wrong = inside.querySelector('[aria-invalid="true"]');
  wrong?.focus();
  return wrong;
}

async function busy(button, said, act, explain = (error) => error.message) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  said.textContent = "";
  try {
    await act();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    said.textContent = explain(error);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

// --- Words ------------------------------------------------------------------------------------------------------

/** KES 2,500 */
export const money = (shillings) => `KES ${shillings.toLocaleString("en-KE")}`;

/** "Thu 24 Dec 2026", of a day ("2026-12-24") or a moment. The club lives in Nairobi, wherever the browser is. */
export const day = (text) => new Date(text).toLocaleDateString("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "Africa/Nairobi",
}).replace(",", "");

/** "24 Dec, 17:05" */
export const moment = (text) => new Date(text).toLocaleString("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "Africa/Nairobi",
});

/** Today in Nairobi, or some days from it, as "2026-12-24". */
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

/** 0712 345 678, of 254712345678 */
export const localPhone = (phone) => phone.replace(/^254(\d{3})(\d{3})(\d{3})$/, "0$1 $2 $3");
