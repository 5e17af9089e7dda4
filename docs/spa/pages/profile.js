// What of a member opens no door: name, birthday, whom to call in an emergency, and the picture.

import { call } from "../api.js";
import { action, field, form, h, link, title, today } from "../dom.js";
import { know, whoAmI } from "../session.js";

const PICTURES = "image/jpeg,image/png,image/webp";

export async function profile() {
  const me = await whoAmI();
  return h("section", { class: "narrow" },
    title("About you"),
    form([
      h("div", { class: "pair" },
        field("first_name", "First name", { autocomplete: "given-name", maxlength: 150, value: me.first_name }),
        field("last_name", "Last name", { autocomplete: "family-name", maxlength: 150, value: me.last_name })),
      field("dob", "Birthday", { type: "date", autocomplete: "bday", max: today(), required: false, value: me.dob }),
      field("emergency_contact", "Whom to call in an emergency", {
        maxlength: 150, required: false, value: me.emergency_contact, hint: "A name and a phone number.",
      }),
    ], {
      button: "Save",
      async submit({ dob, ...person }) {
        know(await call("PATCH", "auth/me/", { ...person, dob: dob || null }));
        location.hash = "#account";
      },
      also: back(),
    }),
    h("h2", {}, "Your picture"),
    h("p", { class: "hint" }, "The desk knows you by it."),
    form([field("picture", "A new picture", { type: "file", accept: PICTURES, hint: "JPEG, PNG or WebP, 5 MB at most." })], {
      button: "Upload",
      async submit({ picture }) {
        const sent = new FormData();
        sent.append("picture", picture);
        know(await call("PUT", "auth/me/picture/", sent));
        location.hash = "#account";
      },
    }),
    me.profile_picture && action("Remove the picture", async () => {
      await call("DELETE", "auth/me/picture/");
      know({ ...me, profile_picture: null });
      location.hash = "#account";
    }, { class: "plain" }));
}

/** Back to the account, with nothing changed. */
export const back = () => link("account", "Back", { class: "plain" });
