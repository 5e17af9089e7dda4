// Calls of the simulator's control URLs (docs/simulator.md).

export class Refused extends Error {}

export async function get(path, signal) {
  return read(await fetch(`/control/${path}`, { signal }));
}

export async function post(path, body) {
  return read(await fetch(`/control/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
}

async function read(answer) {
  const body = await answer.json();
  if (!answer.ok) throw new Refused(body.error ?? body.result_desc ?? "The simulator refused this.");
  return body;
}

export function shillings(amount) {
  return `Ksh${amount.toLocaleString("en-KE")}.00`;
}

// −1,500.00 for money paid, +5,000.00 for money received.
export function signed(amount) {
  return `${amount < 0 ? "−" : "+"}${Math.abs(amount).toLocaleString("en-KE")}.00`;
}

// 0712 345 678, +254 712... and 712... become 254712...; anything else becomes null.
export function wirePhone(text) {
  const digits = text.replace(/[\s()+-]/g, "").replace(/^00/, "");
  const found = /^(?:254|0)?([17]\d{8})$/.exec(digits);
  return found ? `254${found[1]}` : null;
}

export function localPhone(phone) {
  return `0${phone.slice(3, 6)} ${phone.slice(6, 9)} ${phone.slice(9)}`;
}

const CLOCK = new Intl.DateTimeFormat("en-KE", { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: "Africa/Nairobi" });

const DAY = new Intl.DateTimeFormat("en-KE", { day: "numeric", month: "short", timeZone: "Africa/Nairobi" });

export function day(moment) {
  return DAY.format(new Date(moment));
}

export function clock(moment) {
  return CLOCK.format(moment ? new Date(moment) : new Date());
}
