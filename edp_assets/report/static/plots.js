// Draws the report's figures from what Python says of them (edp_assets/figures/specification.py), by BokehJS.
"use strict";
const edpPlots = (() => {
  // A page and this script are written by the same program; what it does not know is a mistake, and not left out.
  function known(what, value, names) {
    for (const name of Object.keys(value)) {
      if (!names.includes(name)) { throw new Error(`${what} has ${name}, which this page's script does not know`); }
    }
  }

  const ARRAYS = { f32: Float32Array, i32: Int32Array, u16: Uint16Array, u8: Uint8Array };
  const GLYPHS = {
    scatter: ["x", "y"], quad: ["left", "right", "top", "bottom"], varea: ["x", "y1", "y2"], line: ["x", "y"],
    rect: ["x", "y", "width", "height"], text: ["x", "y", "text"],
  };

  // By the stream's own promises alone, which are settled before a page is printed: a Response's come too late for it.
  async function numbers(type, text) {
    const { readable, writable } = new DecompressionStream("deflate"), writer = writable.getWriter();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const written = Promise.all([writer.write(bytes), writer.close()]), parts = [];
    const reader = readable.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) { parts.push(part.value); }
    await written;
    const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
    parts.reduce((start, part) => { whole.set(part, start); return start + part.length; }, 0);
    return new ARRAYS[type](whole.buffer);
  }

  // Texts are a list, numbers {type: base64 of zlib}, repeated texts {of: them, type: which of them}.
  async function column(packed) {
    if (Array.isArray(packed)) { return packed; }
    const { of, ...rest } = packed, [type] = Object.keys(rest);
    known("A column", rest, Object.keys(ARRAYS));
    const own = await numbers(type, rest[type]);
    return of === undefined ? own : Array.from(own, (which) => of[which]);
  }

  async function table(columns) {
    const pairs = Object.entries(columns).map(async ([name, packed]) => [name, await column(packed)]);
    return Object.fromEntries(await Promise.all(pairs));
  }

  function range(wanted) {
    if (typeof wanted[0] === "string") { return new Bokeh.FactorRange({ factors: wanted }); }
    const [start, end] = wanted;
    if (start !== null && end !== null) { return new Bokeh.Range1d({ start, end }); }
    return new Bokeh.DataRange1d({ ...(start !== null && { start }), ...(end !== null && { end }) });
  }

  // The house style: as wide as the page, which shows through.
  function empty({ x, y, height, width }) {
    for (const axis of [x, y]) { known("An axis", axis, ["label", "range", "ticks", "opposite"]); }
    const plot = new Bokeh.Plotting.figure({
      height, ...(width === null ? { sizing_mode: "stretch_width" } : { sizing_mode: "fixed", width }),
      tools: "pan,box_zoom,wheel_zoom,reset,save", toolbar_location: "above",
      x_range: range(x.range), y_range: range(y.range), x_axis_label: x.label, y_axis_label: y.label,
      x_axis_location: x.opposite ? "above" : "below", y_axis_location: y.opposite ? "right" : "left",
      outline_line_color: null, background_fill_color: null, border_fill_color: null,
    });
    plot.toolbar.setv({ logo: null, autohide: true });
    // A finger scrolls the page, or a wide figure in it: what is drawn moves once its tool is chosen.
    if (matchMedia("(pointer: coarse)").matches) { plot.toolbar.active_drag = null; }
    for (const [wanted, axis, grid] of [[x, plot.xaxis, plot.xgrid], [y, plot.yaxis, plot.ygrid]]) {
      grid.grid_line_alpha = 0.5;
      grid.visible = wanted.ticks === undefined && typeof wanted.range[0] !== "string";
      if (wanted.ticks !== undefined) {
        axis.ticker = new Bokeh.FixedTicker({ ticks: wanted.ticks.map(([place]) => place), minor_ticks: [] });
        axis.major_label_overrides = new Map(wanted.ticks);
      }
    }
    return plot;
  }

  // Beside the plot or in its corner; a click on an entry beside it hides what it stands for.
  function legend(plot, place) {
    const made = new Bokeh.Legend({ background_fill_color: null, border_line_color: null });
    if (place === "right") {
      made.setv({
        click_policy: "hide", label_text_font_size: "9pt", glyph_height: 12, glyph_width: 12, spacing: 0,
      });
      plot.add_layout(made, "right");
    } else if (place === "top_left") {
      made.location = place;
      plot.add_layout(made);
    } else {
      throw new Error(`A figure has its legend at ${place}, which this page's script does not know`);
    }
  }

  function mark(plot, wanted, tables) {
    known("A mark", wanted, [
      "kind", "table", "at", "colour", "alpha", "fill_alpha", "size", "line_width", "legend", "tooltips", "link",
    ]);
    if (!Object.hasOwn(GLYPHS, wanted.kind)) {
      throw new Error(`A mark is a ${wanted.kind}, which this page's script does not know`);
    }
    known(`A mark (${wanted.kind})`, wanted.at, GLYPHS[wanted.kind]);
    const of = (value) => typeof value === "string" ? { field: value } : { value };
    const options = Object.fromEntries(Object.entries(wanted.at).map(([name, value]) => [name, of(value)]));
    const { colour, alpha } = wanted;
    if (wanted.kind === "text") {
      Object.assign(options, {
        text_color: colour, text_alpha: alpha, text_align: "center", text_baseline: "middle", text_font_size: "9pt",
      });
    } else if (typeof colour === "string") {
      Object.assign(options, { color: colour, alpha });
    } else {
      const { column: field, palette, low, high } = colour;
      const transform = new Bokeh.LinearColorMapper({ palette, low, high });
      Object.assign(options, { fill_color: { field, transform }, fill_alpha: alpha, line_color: null });
    }
    if (wanted.fill_alpha !== undefined) { options.fill_alpha = of(wanted.fill_alpha); }
    if (wanted.size !== undefined) { options.size = of(wanted.size); }
    if (wanted.line_width !== undefined) { options.line_width = of(wanted.line_width); }
    if (wanted.legend !== undefined) { Object.assign(options, { legend_label: wanted.legend, name: wanted.legend }); }
    const source = new Bokeh.ColumnDataSource({ data: tables[wanted.table] });
    const drawn = plot[wanted.kind]({ source, ...options });
    // Nothing is selected and a hover changes no look: without these the browser draws every point once, not thrice.
    drawn.setv({ hover_glyph: null, selection_glyph: null, nonselection_glyph: null, muted_glyph: null });
    return drawn;
  }

  // Marks that tell the same share a tool, so that a hover over several of them tells each once.
  function tools(plot, marks, drawn) {
    const told = new Map();
    marks.forEach(({ tooltips, link }, number) => {
      const key = JSON.stringify(tooltips);
      if (tooltips !== undefined) { told.set(key, [...(told.get(key) ?? []), drawn[number]]); }
      if (link !== undefined) {
        const callback = new Bokeh.OpenURL({ url: `@{${link}}`, same_tab: true });
        plot.add_tools(new Bokeh.TapTool({ renderers: [drawn[number]], callback }));
      }
    });
    for (const [tooltips, renderers] of told) {
      plot.add_tools(new Bokeh.HoverTool({ renderers, tooltips: JSON.parse(tooltips) }));
    }
  }

  async function figure(wanted) {
    known("A figure", wanted, ["x", "y", "height", "width", "tables", "marks", "lines", "labels", "legend"]);
    const tables = await Promise.all(wanted.tables.map(table));
    const plot = empty(wanted), { marks, lines, labels } = wanted;
    if (wanted.legend !== null && marks.some((each) => each.legend !== undefined)) { legend(plot, wanted.legend); }
    tools(plot, marks, marks.map((each) => mark(plot, each, tables)));
    for (const line of lines) {
      known("A line", line, ["at", "colour", "upright"]);
      plot.add_layout(new Bokeh.Span({
        location: line.at, dimension: line.upright ? "height" : "width", line_color: line.colour,
        line_dash: [2, 4], line_width: 1.5,
      }));
    }
    if (labels.length) {
      const [x, y, text] = [0, 1, 2].map((part) => labels.map((label) => label[part]));
      plot.add_layout(new Bokeh.LabelSet({
        x: { field: "x" }, y: { field: "y" }, text: { field: "text" },
        source: new Bokeh.ColumnDataSource({ data: { x, y, text } }), y_offset: { value: 8 }, text_align: "center",
        text_font_size: "9pt", text_font_style: "italic", background_fill_alpha: 0.65,
      }));
    }
    return plot;
  }

  async function show(plot, place) {
    const page = new Bokeh.Document();
    page.add_root(plot);
    return await Bokeh.embed.add_document_standalone(page, document.body, [place]);
  }

  // The figure as a picture of its own, drawn at once and not in the browser's next frame, which paper does not await.
  async function picture(plot, width) {
    const place = document.createElement("div");
    place.style.cssText = `position: absolute; left: 0; top: 0; width: ${width}px; visibility: hidden;`;
    document.body.append(place);
    plot.toolbar_location = null;
    const view = (await show(plot, place)).get(plot), { canvas } = view.export("png");
    canvas.style.width = `${view.bbox.width}px`;
    view.remove();
    place.remove();
    return canvas;
  }

  return { figure, show, picture };
})();
