const main = document.querySelector("#phones");
async function refresh() {
  const { prompts } = await (await fetch("/control/prompts/")).json();
  main.replaceChildren(...prompts.filter((prompt) => prompt.status === "open").map(draw));
}
function draw(prompt) {
  const box = document.createElement("section");
  const text = document.createElement("p");
  text.textContent = `${prompt.phone}: pay Ksh ${prompt.amount} to ${prompt.business}, account ${prompt.reference}?`;
  box.append(text);
  for (const action of ["pay", "cancel", "no_funds"]) {
    const button = document.createElement("button");
    button.textContent = action;
    button.addEventListener("click", () => answer(prompt, action));
    box.append(button);
  }
  return box;
}
async function answer(prompt, action) {
  await fetch(`/control/prompts/${prompt.checkout_request_id}/answer/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action }),
  });
  refresh();
}
setInterval(refresh, 1000);
