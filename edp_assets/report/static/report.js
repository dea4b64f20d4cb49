// What the report does in the browser: theme, tables that are sorted, figures drawn when they come into view.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("edp-theme"); } catch { /* a browser may keep nothing for files */ }
  const ground = (theme) => { root.dataset.theme = theme; };
  const wanted = () => chosen ?? (dark.matches ? "dark" : "light");
  ground(wanted());

  function colour(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }

  // Bokeh draws on a canvas, which knows no variables of the page: its models are given the theme's colours.
  function recolour(figure) {
    const ink = colour("--ink"), soft = colour("--soft"), grid = colour("--grid");
    for (const model of figure.references()) {
      if (model.type.endsWith("Axis")) {
        model.setv({
          axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: soft,
          major_tick_line_color: soft, minor_tick_line_color: null,
        });
      } else if (model.type === "Grid") {
        model.setv({ grid_line_color: grid });
      } else if (model.type === "Legend") {
        model.setv({ label_text_color: ink });
      } else if (model.type === "LabelSet") {
        model.setv({ text_color: ink, background_fill_color: colour("--ground") });
      }
    }
  }

  const figures = [], begun = new Map();
  async function build(name, text) {
    const place = document.getElementById(name);
    try {
      const figure = await edpPlots.figure(JSON.parse(text));
      figures.push(figure);
      recolour(figure);
      await edpPlots.show(figure, place);
    } catch (error) { fail(place, error); }
  }

  function fail(place, error) {
    const told = `This figure could not be drawn. ${error.message}`;
    if (place.textContent === told) { return; }
    place.textContent = told;
    throw error;
  }

  function draw(script) {
    const name = script.dataset.plot;
    if (!begun.has(name)) { begun.set(name, build(name, script.textContent)); }
    return begun.get(name);
  }

  function show(theme) { ground(theme); figures.forEach(recolour); }

  // Paper is light, has room for all that is folded away, and is narrow: figures are drawn for its width, and wide
  // tables made smaller. A page is printed as soon as this has run and its promises are settled: it waits for no frame.
  const PAPER = 860;
  let folded = [];
  function to_paper(scripts) {
    ground("light");
    root.classList.add("paper");
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) { each.open = true; }
    const tables = [...document.querySelectorAll(".table > table")];
    const zooms = tables.map((table) => table.parentNode.clientWidth / table.offsetWidth);
    tables.forEach((table, number) => { table.style.zoom = Math.min(1, zooms[number]); });
    scripts.forEach(print);
  }

  async function print(script) {
    const place = document.getElementById(script.dataset.plot);
    try {
      const figure = await edpPlots.figure(JSON.parse(script.textContent));
      recolour(figure);
      const picture = await edpPlots.picture(figure, place.closest(".pair") ? PAPER / 2 : PAPER);
      picture.className = "printed";
      if (root.classList.contains("paper")) { place.append(picture); }
    } catch (error) { fail(place, error); }
  }

  function from_paper() {
    root.classList.remove("paper");
    document.querySelectorAll(".printed").forEach((picture) => picture.remove());
    document.querySelectorAll(".table > table").forEach((table) => { table.style.zoom = ""; });
    for (const each of folded) { each.open = false; }
    ground(wanted());
  }

  function key(row, column) {
    const cell = row.cells[column], text = cell.dataset.key ?? cell.textContent;
    return text === "" ? null : cell.classList.contains("number") ? Number(text) : text;
  }

  // Empty cells come last, whichever way a column is sorted.
  function sort(head) {
    const column = head.cellIndex, body = head.closest("table").tBodies[0];
    const number = head.classList.contains("number");
    const way = head.ariaSort ? (head.ariaSort === "ascending" ? -1 : 1) : number ? -1 : 1;
    for (const other of head.parentNode.cells) { other.removeAttribute("aria-sort"); }
    head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) { return (a === null) - (b === null); }
      return way * (number ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...rows.map(([, row]) => row));
  }

  // A link to a part of the page opens what it lies in.
  function open_target() {
    const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let folded = part && part.closest("details");
    if (!folded) { return; }
    for (; folded; folded = folded.parentElement.closest("details")) { folded.open = true; }
    part.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const scripts = [...document.querySelectorAll("script[data-plot]")];
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          draw(document.querySelector(`script[data-plot="${CSS.escape(entry.target.id)}"]`));
        }
      }
    }, { rootMargin: "300px" });
    for (const script of scripts) { seen.observe(document.getElementById(script.dataset.plot)); }
    document.addEventListener("click", (event) => {
      const button = event.target.closest("th button");
      if (button) { sort(button.parentNode); }
    });
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("edp-theme", chosen); } catch { /* as above */ }
      show(chosen);
    });
    dark.addEventListener("change", () => show(wanted()));
    addEventListener("beforeprint", () => to_paper(scripts));
    addEventListener("afterprint", from_paper);
    addEventListener("hashchange", open_target);
    open_target();
  });
})();
