// The charts come after the page; unfold draws only those that are there when it has loaded.
document.addEventListener("htmx:afterSwap", ({ target }) => {
  if (target.id !== "charts") return;
  target.removeAttribute("aria-busy");
  renderCharts();
});
