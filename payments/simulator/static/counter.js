// The counter page: arm faults, turn options, read the book.

import { clock, get, post, wirePhone } from "./api.js";

const PLACES = {
  person: "The payer", answer: "The answer to the push", callback: "The callback", query: "The query", twin: "The C2B confirmation",
};
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

function showQueue(faults) {
  fill("queue", faults.queue.map((entry) => row(entry.fault, entry.phone || "any phone", `× ${entry.times}`)));
  $("clear").hidden = !faults.queue.length && !Object.keys(faults.rates).length;
}

async function setUp() {
  const faults = await get("faults/");
  const meanings = Object.assign({}, ...Object.values(faults.known));
  const select = $("arm").fault;
  for (const [place, title] of Object.entries(PLACES)) {
    const group = document.createElement("optgroup");
    group.label = title;
    for (const name of Object.keys(faults.known[place])) group.append(new Option(name, name));
    select.append(group);
  }
  const explain = () => { $("meaning").textContent = `${select.selectedOptions[0].parentNode.label} ${meanings[select.value]}.`; };
  select.addEventListener("change", explain);
  explain();
  $("seed").textContent = faults.seed;
  fill("magic", Object.entries(faults.magic_phones).map(([phone, how]) => {
    const name = how.result ?? how.twin ?? how.query ?? how.callback ?? how.answer ?? how.person;
    return row(code(phone), name, meanings[name]);
  }));
  showQueue(faults);
  await showOptions();
}

$("arm").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const phone = form.phone.value ? wirePhone(form.phone.value) : "";
  if (phone === null) {
    $("armed").textContent = "That is no Kenyan mobile number.";
    return;
  }
  try {
    showQueue(await post("faults/", { next: [{ fault: form.fault.value, phone, times: Number(form.times.value) }] }));
    $("armed").textContent = `${form.fault.value} is armed.`;
  } catch (error) {
    $("armed").textContent = error.message;
  }
});
$("clear").addEventListener("click", async () => {
  showQueue(await post("faults/", { clear: true }));
  $("armed").textContent = "No fault is armed.";
});

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
  speed.append("speed (30 makes a minute last two seconds)", input);
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
    showQueue(faults);
  } catch {
    // The next tick tries again.
  }
}

await setUp();
await refresh();
setInterval(refresh, 2000);
