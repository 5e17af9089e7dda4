// The counter page: faults, options, callbacks and the money that moved.

import { clock, get, post, wirePhone } from "./api.js";

const PLACES = {
  person: "The payer", answer: "The answer", callback: "The callback", query: "The query", confirmation: "The C2B confirmation",
  result: "The Result",
};
const CALLS = {
  push: "Express push", oauth: "OAuth token", query: "Express query", c2b: "C2B", pull: "Pull Transactions", b2c: "B2C",
  reversal: "Reversal", status: "Transaction Status", balance: "Account Balance",
};
let current = {}; // shares of the seeded draw
const $ = (id) => document.getElementById(id);

function row(...cells) {
  const made = document.createElement("tr");
  for (const cell of cells) {
    const place = document.createElement("td");
    if (cell instanceof Node) place.append(cell);
    else place.textContent = cell ?? "";
    made.append(place);
  }
  return made;
}

function code(text) {
  const made = document.createElement("code");
  made.textContent = text;
  return made;
}

function fill(id, rows, empty) {
  $(id).replaceChildren(...(rows.length || !empty ? rows : [row(empty)]));
}

function showFaults({ queue, rates, seed }) {
  fill("queue", queue.map((entry) => row(
    entry.fault, entry.endpoint === "push" ? entry.phone || "any phone" : CALLS[entry.endpoint], `× ${entry.times}`)));
  fill("rates", Object.entries(rates).map(([name, share]) => row(name, `${Math.round(share * 1000) / 10} %`)));
  $("clear").hidden = !queue.length && !Object.keys(rates).length;
  const input = $("reseed").seed;
  if (input !== document.activeElement) input.value = seed;
  current = rates;
}

// Fill a list with the faults of an endpoint, grouped by place.
function offer(select, known, names) {
  select.replaceChildren();
  for (const [place, title] of Object.entries(PLACES)) {
    const here = Object.keys(known[place]).filter((name) => names.includes(name));
    if (!here.length) continue;
    const group = document.createElement("optgroup");
    group.label = title;
    group.append(...here.map((name) => new Option(name, name)));
    select.append(group);
  }
}

async function setUp() {
  const faults = await get("faults/");
  const meanings = Object.assign({}, ...Object.values(faults.known));
  const { endpoint, fault } = $("arm");
  const explain = () => {
    $("meaning").textContent = `${fault.selectedOptions[0].parentNode.label}: ${meanings[fault.value]}.`;
  };
  const choose = () => {
    offer(fault, faults.known, faults.endpoints[endpoint.value]);
    document.querySelector(".of-push").hidden = endpoint.value !== "push";
    explain();
  };
  endpoint.append(...Object.keys(faults.endpoints).map((name) => new Option(CALLS[name], name)));
  endpoint.addEventListener("change", choose);
  fault.addEventListener("change", explain);
  choose();
  offer($("share").fault, faults.known, faults.endpoints.push);
  fill("magic", Object.entries(faults.magic_phones).map(([phone, how]) => {
    const name = how.result ?? how.confirmation ?? how.query ?? how.callback ?? how.answer ?? how.person;
    return row(code(phone), name, meanings[name]);
  }));
  showFaults(faults);
  await showOptions();
}

// Change the faults, and show a message.
async function change(output, body, message) {
  try {
    showFaults(await post("faults/", body));
    $(output).textContent = message;
  } catch (error) {
    $(output).textContent = error.message;
  }
}

$("arm").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const endpoint = form.endpoint.value;
  const phone = endpoint === "push" && form.phone.value ? wirePhone(form.phone.value) : "";
  if (phone === null) {
    $("armed").textContent = "Enter a Kenyan mobile number, such as 0712 345 678.";
    return;
  }
  const next = [{ fault: form.fault.value, endpoint, phone, times: Number(form.times.value) }];
  await change("armed", { next }, `${form.fault.value} is armed.`);
});
$("share").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { fault, percent } = event.target;
  const rates = { ...current, [fault.value]: Number(percent.value) / 100 };
  if (!rates[fault.value]) delete rates[fault.value];
  await change("drawn", { rates }, `${percent.value} % of the pushes meet ${fault.value}.`);
});
$("reseed").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { seed } = event.target;
  seed.blur();
  await change("drawn", { seed: Number(seed.value) }, `The seed is ${seed.value}.`);
});
$("clear").addEventListener("click", () => change("armed", { clear: true }, "No fault is armed."));

async function showOptions() {
  const options = await get("options/");
  const labels = Object.entries(options.known).map(([name, words]) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.append(...words.map((word) => new Option(word, word, false, word === options[name])));
    select.addEventListener("change", () => post("options/", { [name]: select.value }));
    label.append(name.replaceAll("_", " "), select);
    return label;
  });
  const speed = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: "0.1", step: "any", value: options.speed });
  input.addEventListener("change", () => Number(input.value) > 0 && post("options/", { speed: Number(input.value) }));
  speed.append("speed", input);
  $("options").replaceChildren(speed, ...labels);
}
$("options").addEventListener("submit", (event) => event.preventDefault());

async function refresh() {
  try {
    const [{ debits }, { deliveries }, faults] = await Promise.all([get("book/"), get("deliveries/"), get("faults/")]);
    fill("debits", debits.reverse().slice(0, 100).map((debit) => row(
      code(debit.code), clock(debit.at), debit.phone, debit.amount.toLocaleString("en-KE"), debit.account,
      debit.reversed_at ? `${debit.channel}, reversed` : debit.channel,
    )), "Nothing yet.");
    fill("deliveries", deliveries.slice(0, 100).map((delivery) => row(
      delivery.kind, code(delivery.about), clock(delivery.due_at),
      delivery.http_status ?? delivery.error ?? delivery.state, code(delivery.body.slice(0, 300)),
    )), "Nothing yet.");
    showFaults(faults);
  } catch {
    // The next interval tries again.
  }
}

await setUp();
await refresh();
setInterval(refresh, 2000);
