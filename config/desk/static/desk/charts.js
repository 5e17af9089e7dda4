// The charts come after the page; unfold draws only those that are there when it has loaded, and none may be drawn twice.
document.addEventListener("htmx:afterSwap", ({ target }) => {
  if (target.id !== "charts") return;
  target.removeAttribute("aria-busy");
  const { y } = DEFAULT_CHART_OPTIONS.scales;
  y.beginAtZero = true;
  y.ticks.precision = 0; // there are no half members
  if (document.readyState === "complete") renderCharts();
});
