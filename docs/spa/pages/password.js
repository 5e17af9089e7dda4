// A new password, with the current one.

import { ApiError, call } from "../api.js";
import { field, form, h, title } from "../dom.js";
import { whoAmI } from "../session.js";
import { back } from "./profile.js";

export async function password() {
  const me = await whoAmI();
  const section = h("section", { class: "narrow" });
  section.append(
    title("Change your password"),
    h("p", { class: "lead" }, "Wherever else you are logged in, you will have to log in again."),
    form([
      // For the browser's password manager.
      h("input", { type: "text", autocomplete: "username", value: me.phone_number ?? me.email ?? me.username, hidden: true }),
      field("current", "The password you have", { type: "password", autocomplete: "current-password" }),
      field("new", "A new one", { type: "password", autocomplete: "new-password", minlength: 10, hint: "Ten characters or more." }),
    ], {
      button: "Change it",
      async submit(passwords) {
        await call("POST", "auth/password/change/", passwords).catch(wrongPassword);
        section.replaceChildren(title("Your password is changed"), h("p", { class: "lead" }, "Use the new one from now on."), back());
        section.querySelector("h1").focus();
      },
      also: back(),
    }));
  return section;
}

/** The API answers a wrong current password with `reauth_required`: show the error beside the field. */
function wrongPassword(error) {
  if (error.code !== "reauth_required") throw error;
  const { code } = error;
  throw new ApiError(error.status, { code, details: [{ field: "current", code, message: "This is not your password." }] });
}
