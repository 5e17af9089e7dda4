// Start here: the page for each URL, and the bar at the top.

import { club } from "./club.js";
import { h, link, title } from "./dom.js";
import * as phone from "./phone.js";
import { forget, whoAmI } from "./session.js";
import { account } from "./pages/account.js";
import { address } from "./pages/address.js";
import { buy } from "./pages/buy.js";
import { factor } from "./pages/factor.js";
import { join } from "./pages/join.js";
import { login } from "./pages/login.js";
import { membership } from "./pages/membership.js";
import { password } from "./pages/password.js";
import { payment } from "./pages/payment.js";
import { plans } from "./pages/plans.js";
import { profile } from "./pages/profile.js";
import { receipts } from "./pages/receipts.js";
import { reset } from "./pages/reset.js";

// A page gets the rest of the URL after its name, and a signal that fires when the visitor leaves it. A link can contain any
// name: without a prototype, "toString" is not the name of a page.
const OPEN = { __proto__: null, plans, join, login, reset };
const MEMBERS = { __proto__: null, membership, buy, payment, receipts, account, profile, address, password, factor };

const main = document.querySelector("main");
let clubName = document.title; // until the API has returned the club's name
let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  main.setAttribute("aria-busy", "true");
  const content = await open(signal).catch(errorPage);
  if (signal.aborted || content === null) return;
  main.removeAttribute("aria-busy");
  main.replaceChildren(content);
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · ${clubName}`;
  scrollTo(0, 0);
  /** @type {HTMLElement} */
  const first = main.querySelector("[data-first]") ?? heading;
  if (!phone.hasFocus()) first.focus({ preventScroll: true });
}

/** Create the page that the URL names; null if the visitor must see another page first. */
async function open(signal) {
  const me = await whoAmI();
  const [name, argument] = location.hash.slice(1).split("/");
  const page = name || (me ? "membership" : "plans");
  if (page in MEMBERS && !me) {
    sessionStorage.setItem("wanted", location.hash);
    location.replace(page === "buy" ? "#join" : "#login");
    return null;
  }
  showBar(me, page);
  phone.belongsTo(me);
  return (OPEN[page] ?? MEMBERS[page] ?? plans)(argument, signal);
}

function showBar(me, page) {
  const pages = me
    ? { membership: "Membership", plans: "Plans", receipts: "Receipts", account: "Account" }
    : { plans: "Plans", login: "Log in", join: "Join" };
  document.querySelector("#nav").replaceChildren(...Object.entries(pages).map(
    ([name, text]) => link(name, text, { "aria-current": name === page && "page", class: name === "join" && "main" })));
}

function errorPage(error) {
  return h("section", { class: "narrow" }, title("That did not work"), h("p", { role: "alert" }, error.message),
    error.requestId && h("p", { class: "hint" }, `If you ask us about it, quote ${error.requestId}.`),
    h("button", { class: "main", onclick: show }, "Try again"));
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the URL's fragment names a page, not an element
  main.focus();
});
addEventListener("hashchange", show);
addEventListener("session-changed", show);
addEventListener("logged-out", () => {
  forget();
  if (!location.hash.startsWith("#login")) sessionStorage.setItem("wanted", location.hash);
  location.replace("#login");
});

await phone.setUp();
await club().then(({ name }) => {
  clubName = name;
  for (const each of document.querySelectorAll(".club")) each.textContent = name;
}).catch(() => {}); // the next page shows the error
await show();
