// For development only: a simulated phone beside the club. A real club answers phone.json with no phone, and this
// file can go.

import { h } from "./dom.js";

const aside = document.querySelector("aside");
let address = null; // of the simulator's page of phones
let number = "";
let isTaken = false; // by a member: whoever joins next needs another

/** Find out whether there is a phone, and put it beside the club. */
export async function setUp() {
  address = (await fetch("phone.json").then((response) => response.json()).catch(() => ({}))).phone ?? null;
  if (!address) return;
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
  if (!number) lend();
}

function open(isOpen) {
  const toggle = aside.querySelector(".phone-toggle");
  toggle.setAttribute("aria-expanded", String(isOpen));
  toggle.classList.remove("rings");
  toggle.textContent = isOpen ? "Back to the club" : "Phone";
  aside.classList.toggle("open", isOpen);
  if (isOpen) aside.querySelector("iframe").focus();
}

/** Lay this phone on the table, however its number is typed; what is no number changes nothing. */
export function show(typed) {
  const wanted = typed?.replace(/[\s+-]/g, "").replace(/^0/, "254") ?? "";
  if (!address || !/^254\d{9}$/.test(wanted) || wanted === number) return;
  number = wanted;
  aside.querySelector("iframe").src = `${address}?phones=${wanted}&bare`;
}

/** Show the member's own phone. */
export function belongsTo(me) {
  if (!me?.phone_number) return;
  show(me.phone_number);
  isTaken = true;
}

/** The number of a phone that nobody has joined with, or "" where phones are real. */
export function lend() {
  if (!address) return "";
  if (!number || isTaken) {
    show(`254712${String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000).padStart(6, "0")}`);
    isTaken = false;
  }
  return number;
}

/** The phone has done its part: back to the club where it covers it. */
export function rests() {
  if (address) open(false);
}

/** Whether what is typed goes to the phone: a prompt that has come already must not lose its PIN to the page. */
export const hasKeys = () => aside.contains(document.activeElement);

/** Something comes to the phone: the keys go there, or, where it is folded away, its button points at it. */
export function rings() {
  if (!address) return;
  aside.querySelector("iframe").focus();
  if (!hasKeys()) aside.querySelector(".phone-toggle").classList.add("rings");
}
