// Whose application this is, and where it is paid by hand: the same for everybody, so it is asked once.

import { call } from "./api.js";

/** @type {import("./types").Club | undefined} */
let told;

export async function club() {
  told ??= await call("GET", "club/");
  return told;
}
