// The page of phones: adding and removing phones, and updates by long polling.

import { get, localPhone, wirePhone } from "./api.js";
import { Handset } from "./handset.js";

const FIRST_PHONE = "254700000001";
const MAX_PHONES = 8;
const main = document.querySelector("#phones");
const trouble = document.querySelector("#trouble");
const parameters = new URLSearchParams(location.search);
const handsets = new Map();
const removed = new Set();
let version = 0;
let polling = null;

if (parameters.has("bare")) document.body.classList.add("bare");

function say(text) {
  document.querySelector("#news").textContent = text;
}

function add(phone) {
  if (handsets.has(phone) || handsets.size >= MAX_PHONES) return;
  const handset = new Handset(phone, { say, close: remove });
  handsets.set(phone, handset);
  main.append(handset.root);
}

function remove(handset) {
  handsets.delete(handset.phone);
  removed.add(handset.phone);
  handset.root.remove();
  say(`Phone ${localPhone(handset.phone)} was removed.`);
}

function restart() {
  version = 0;
  polling?.abort();
}

document.querySelector("#add").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.number;
  const phone = wirePhone(input.value);
  input.setCustomValidity(phone ? "" : "Enter a Kenyan mobile number: 07…, 01… or 254…");
  input.reportValidity();
  if (!phone) return;
  removed.delete(phone);
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
      const update = await get(`phones/?phones=${phones}&after=${version}&wait=${version ? 20 : 0}`, polling.signal);
      version = update.version;
      trouble.hidden = true;
      showUpdate(update);
    } catch (error) {
      if (error.name === "AbortError") continue;
      trouble.textContent = "The simulator does not answer. Trying again…";
      trouble.hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 1500));
      version = 0;
    }
  }
}

function showUpdate(update) {
  for (const state of update.phones) handsets.get(state.phone)?.show(state, update.business);
  // Add a phone that gets a prompt, unless the URL lists the phones to show.
  if (parameters.has("phones")) return;
  const before = handsets.size;
  for (const phone of update.recent) if (!removed.has(phone)) add(phone);
  if (!handsets.size) add(FIRST_PHONE);
  if (handsets.size > before) version = 0;
}

for (const typed of (parameters.get("phones") ?? "").split(",")) {
  const phone = wirePhone(typed);
  if (phone) add(phone);
}
addEventListener("focus", () => handsets.forEach((handset) => handset.focusPrompt()));
setInterval(() => handsets.forEach((handset) => handset.tick()), 1000);
follow();
