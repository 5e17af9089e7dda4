// The page of phones: which ones stand here, and news for them by long polling.

import { get, localPhone, wirePhone } from "./api.js";
import { Handset } from "./handset.js";

const FIRST_PHONE = "254700000001";
const MOST = 8;
const main = document.querySelector("#phones");
const trouble = document.querySelector("#trouble");
const asked = new URLSearchParams(location.search);
const handsets = new Map();
const putAway = new Set();
let version = 0;
let polling = null;

if (asked.has("bare")) document.body.classList.add("bare");

function say(text) {
  document.querySelector("#news").textContent = text;
}

function add(phone) {
  if (handsets.has(phone) || handsets.size >= MOST) return;
  const handset = new Handset(phone, { say, close: remove });
  handsets.set(phone, handset);
  main.append(handset.root);
}

function remove(handset) {
  handsets.delete(handset.phone);
  putAway.add(handset.phone);
  handset.root.remove();
  say(`Phone ${localPhone(handset.phone)} was put away.`);
}

function restart() {
  version = 0;
  polling?.abort();
}

document.querySelector("#add").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.number;
  const phone = wirePhone(input.value);
  input.setCustomValidity(phone ? "" : "A Kenyan mobile number: 07…, 01… or 254…");
  input.reportValidity();
  if (!phone) return;
  putAway.delete(phone);
  add(phone);
  input.value = "";
  restart();
});
document.querySelector("#number").addEventListener("input", (event) => event.target.setCustomValidity(""));

async function follow() {
  for (;;) {
    polling = new AbortController();
    try {
      const phones = [...handsets.keys()].join(",");
      const news = await get(`phones/?phones=${phones}&after=${version}&wait=${version ? 20 : 0}`, polling.signal);
      version = news.version;
      trouble.hidden = true;
      showNews(news);
    } catch (error) {
      if (error.name === "AbortError") continue;
      trouble.textContent = "The simulator does not answer. Trying again…";
      trouble.hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 1500));
      version = 0;
    }
  }
}

function showNews(news) {
  for (const state of news.phones) handsets.get(state.phone)?.show(state, news.business);
  // A phone that gets a prompt comes to the table by itself, unless the address says which phones to show.
  if (asked.has("phones")) return;
  const before = handsets.size;
  for (const phone of news.recent) if (!putAway.has(phone)) add(phone);
  if (!handsets.size) add(FIRST_PHONE);
  if (handsets.size > before) version = 0;
}

for (const typed of (asked.get("phones") ?? "").split(",")) {
  const phone = wirePhone(typed);
  if (phone) add(phone);
}
addEventListener("focus", () => handsets.forEach((handset) => handset.takeKeys()));
setInterval(() => handsets.forEach((handset) => handset.tick()), 1000);
follow();
