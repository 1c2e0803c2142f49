// Sorts and filters tables, and draws charts. Without this script every table is there, whole and in its first order.
"use strict";

const text = (row, column) => row.cells[column].textContent.trim();

// Blank cells come last in both directions. Numbers are compared by value, other texts in alphabetical order.
function compare(a, b, sign) {
  if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
  const [x, y] = [parseFloat(a), parseFloat(b)];
  const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  return sign * order;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort") === first ? other : first;
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(text(a, column), text(b, column), sign));
      table.tBodies[0].append(...rows);
    });
  });
}

// The address keeps what is chosen, so that a view can be shared: index.html#method=mfw&ratio=100
function filters(form) {
  const table = document.getElementById(form.dataset.filters);
  const rows = [...table.tBodies[0].rows];
  const selects = [...form.querySelectorAll("select")];
  const search = form.querySelector("[data-search]");
  const output = form.querySelector("output");
  const key = (select) => select.parentElement.firstChild.textContent.trim();
  const value = (row, select) => text(row, select.dataset.column);
  const asked = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const anything = [...asked.keys()].length > 0;
  for (const select of selects) {
    const values = [...new Set(rows.map((row) => value(row, select)))].filter(Boolean);
    if (select.dataset.first === "") values.sort((a, b) => compare(a, b, 1));
    for (const one of values) select.add(new Option(one, one));
    const first = anything ? asked.get(key(select)) || "" : select.dataset.first;
    for (const option of select.options) option.defaultSelected = option.value === select.dataset.first;
    select.value = values.includes(first) ? first : "";
  }
  search.value = asked.get("search") || "";
  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const runs = new Set();
    let count = 0;
    for (const row of rows) {
      const whole = row.textContent.toLowerCase();
      const shown = selects.every((one) => !one.value || value(row, one) === one.value) && words.every((w) => whole.includes(w));
      row.hidden = !shown;
      if (!shown) continue;
      count += 1;
      const link = row.querySelector("a[data-run]");
      if (link) runs.add(link.href);
    }
    const recorded = "runs" in table.dataset ? `, ${runs.size} recorded runs` : "";
    output.textContent = `${count} of ${rows.length} lines${recorded}`;
  }
  function remember() {
    const chosen = new URLSearchParams(selects.filter((one) => one.value).map((one) => [key(one), one.value]));
    if (search.value) chosen.set("search", search.value);
    history.replaceState(null, "", `#${chosen}`);
    show();
  }
  form.addEventListener("input", remember);
  form.addEventListener("reset", () => setTimeout(remember));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}

// Colours are variables of the style sheet, so a chart changes with it in dark mode and in print.
const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: { labelColor: "var(--ink)", titleColor: "var(--ink)", gridColor: "var(--line)", domainColor: "var(--muted)", tickColor: "var(--line)", titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 12 },
  legend: { labelColor: "var(--ink)", titleColor: "var(--ink)", orient: "top", labelFontSize: 12, symbolStrokeWidth: 2 },
};

function chart(script) {
  const spec = JSON.parse(script.textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, config: CONFIG, tooltip: { theme: "custom" } };
  vegaEmbed(script.previousElementSibling, spec, options);
}

// assets/charts.js has the drawing library compressed, at two fifths of its size.
async function library() {
  const bytes = Uint8Array.from(atob(packedLibrary), (one) => one.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

// A run's accuracies by epoch are in the page once: in its first chart.
function save(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const spec = JSON.parse(document.querySelector("script.spec").textContent);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([spec.datasets[spec.data.name]], { type: "text/csv" }));
    link.download = button.dataset.save;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

const specs = document.querySelectorAll("script.spec");
if (specs.length) library().then(() => specs.forEach(chart));
document.querySelectorAll("button[data-save]").forEach(save);
document.querySelectorAll("table[data-sortable]").forEach(sortable);
document.querySelectorAll("form[data-filters]").forEach(filters);
