// A new phone number or e-mail address: a code is sent to it, and the member types the code.

import { call } from "../api.js";
import { field, form, h, title } from "../dom.js";
import * as phone from "../phone.js";
import { next, proven } from "../proof.js";
import { setProfile } from "../session.js";
import { back } from "./profile.js";

const PHONE = {
  heading: "Your phone number",
  lead: "You log in with it, our messages go to it, and M-Pesa asks it when you pay.",
  fields: () => [field("phone_number", "New phone number", { type: "tel", autocomplete: "tel", placeholder: "0712 345 678" })],
  ask: (body) => call("POST", "auth/phone/change/", body),
  confirm: (body) => call("POST", "auth/phone/change/confirm/", body),
};

const EMAIL = {
  heading: "Your e-mail address",
  lead: "You log in with it too, and our messages go to it when we know no phone of yours.",
  fields: () => [field("email", "New e-mail address", { type: "email", autocomplete: "email", maxlength: 254 })],
  ask: (body) => call("POST", "auth/email/change/", body),
  confirm: (body) => call("POST", "auth/email/change/confirm/", body),
};

/** @param {string} which "phone" or "email" */
export async function address(which) {
  const kind = which === "email" ? EMAIL : PHONE;
  const section = h("section", { class: "narrow" });
  section.append(
    title(kind.heading),
    h("p", { class: "lead" }, kind.lead),
    form(kind.fields(), {
      button: "Send a code to it",
      submit: (body) => proven(section, async () => {
        phone.show(body.phone_number);
        await kind.ask(body);
        phone.ring();
        next(section, ...confirm(kind, Object.values(body)[0]));
      }),
      also: back(),
    }));
  return section;
}

function confirm(kind, sentTo) {
  return [
    title("Type the code"),
    h("p", { class: "lead" }, `We have sent a code to ${sentTo}. Wherever else you are logged in, you will have to log in again.`),
    form([
      field("code", "Code", {
        class: "code", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6, "data-first": true, hint: "Six digits.",
      }),
    ], {
      button: "Change it",
      async submit(body) {
        setProfile(await kind.confirm(body));
        location.hash = "#account";
      },
      also: back(),
    }),
  ];
}
