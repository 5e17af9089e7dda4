// Personal details that need no recent login: name, birthday, emergency contact, and picture.

import { call } from "../api.js";
import { action, field, form, h, link, title, today } from "../dom.js";
import { setProfile, whoAmI } from "../session.js";

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
      field("emergency_contact", "Emergency contact", {
        maxlength: 150, required: false, value: me.emergency_contact, hint: "A name and a phone number.",
      }),
    ], {
      button: "Save",
      async submit({ dob, ...person }) {
        setProfile(await call("PATCH", "auth/me/", { ...person, dob: dob || null }));
        location.hash = "#account";
      },
      also: back(),
    }),
    h("h2", {}, "Your picture"),
    h("p", { class: "hint" }, "The desk recognises you by it."),
    form([field("picture", "A new picture", { type: "file", accept: PICTURES, hint: "JPEG, PNG or WebP, 5 MB at most." })], {
      button: "Upload",
      async submit({ picture }) {
        const sent = new FormData();
        sent.append("picture", picture);
        setProfile(await call("PUT", "auth/me/picture/", sent));
        location.hash = "#account";
      },
    }),
    me.profile_picture && action("Remove the picture", async () => {
      await call("DELETE", "auth/me/picture/");
      setProfile({ ...me, profile_picture: null });
      location.hash = "#account";
    }, { class: "plain" }));
}

/** A link to the account that saves nothing. */
export const back = () => link("account", "Back", { class: "plain" });
