// For development only: a simulated phone beside the application. In production phone.json names no phone, and this file can
// be removed.

import { h } from "./dom.js";

const aside = document.querySelector("aside");
let url = null; // of the simulator's page of phones
let number = "";
let isTaken = false; // by a member: the next visitor who joins needs another phone

/** Find out whether there is a phone, and show it beside the application. */
export async function setUp() {
  url = (await fetch("phone.json").then((response) => response.json()).catch(() => ({}))).phone ?? null;
  if (!url) return;
  const toggle = h("button", { type: "button", class: "phone-toggle", "aria-controls": "phone-body", "aria-expanded": "false" }, "Phone");
  toggle.addEventListener("click", () => open(toggle.getAttribute("aria-expanded") === "false"));
  addEventListener("keydown", ({ key }) => key === "Escape" && open(false));
  aside.append(
    toggle,
    h("div", { id: "phone-body", class: "phone-body" },
      h("iframe", { title: "Simulated phone" }),
      h("p", { class: "hint" }, "A simulated phone. No real money moves.")));
  aside.hidden = false;
  document.body.classList.add("with-phone");
  if (!number) unusedNumber();
}

function open(isOpen) {
  const toggle = aside.querySelector(".phone-toggle");
  toggle.setAttribute("aria-expanded", String(isOpen));
  toggle.classList.remove("rings");
  toggle.textContent = isOpen ? "Back to the club" : "Phone";
  aside.classList.toggle("open", isOpen);
  if (isOpen) aside.querySelector("iframe").focus();
}

/** Show the phone with this number, in any usual form; another text changes nothing. */
export function show(typed) {
  const wanted = typed?.replace(/[\s+-]/g, "").replace(/^0/, "254") ?? "";
  if (!url || !/^254\d{9}$/.test(wanted) || wanted === number) return;
  number = wanted;
  aside.querySelector("iframe").src = `${url}?phones=${wanted}&bare`;
}

/** Show the member's own phone. */
export function belongsTo(me) {
  if (!me?.phone_number) return;
  show(me.phone_number);
  isTaken = true;
}

/** The number of a phone that no member uses, or "" if phones are real. */
export function unusedNumber() {
  if (!url) return "";
  if (!number || isTaken) {
    show(`254712${String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000).padStart(6, "0")}`);
    isTaken = false;
  }
  return number;
}

/** Close the phone on a small screen, where it covers the application. */
export function close() {
  if (url) open(false);
}

/** Whether the phone has the focus. The page must not take it: the member may be typing the PIN into a prompt. */
export const hasFocus = () => aside.contains(document.activeElement);

/** A message or prompt arrives: focus the phone, or, if it is closed, let its button ring. */
export function ring() {
  if (!url) return;
  aside.querySelector("iframe").focus();
  if (!hasFocus()) aside.querySelector(".phone-toggle").classList.add("rings");
}
