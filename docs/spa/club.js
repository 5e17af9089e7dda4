// The club's name, terms, and paybill or till. They are the same for all visitors, so they are requested once.

import { call } from "./api.js";

/** @type {import("./types").Club | undefined} */
let details;

export async function club() {
  details ??= await call("GET", "club/");
  return details;
}
