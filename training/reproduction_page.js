"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("curves").textContent);
  const body = document.querySelector("tbody");
  const headings = [...document.querySelectorAll("thead th")];
  const chosen = document.getElementById("chosen");
  const width = 720, height = 360, left = 48, right = 16, top = 14, bottom = 44;

  document.querySelector(".scripted").hidden = false;

  /* Numbers before words before nothing, whichever way is up. */
  const kind = (key) => (key === "" ? 2 : Number.isFinite(Number(key)) ? 0 : 1);
  const compared = (a, b, sign) => {
    if (kind(a) !== kind(b)) return kind(a) - kind(b);
    return sign * (kind(a) === 0 ? a - b : a.localeCompare(b, "en", { numeric: true }));
  };

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.key;
      headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? order : "none"));
      body.append(...[...body.rows].sort((a, b) => compared(key(a), key(b), sign)));
    });
  });

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  /* A round distance that gives at most `count` ticks. */
  const spacing = (range, count) => {
    const power = 10 ** Math.floor(Math.log10(range / count));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => range / step <= count);
  };

  const ticks = (end, count) => {
    const step = spacing(end, count);
    return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, k) => k * step);
  };

  const drawing = (row) => {
    const all = rows.flatMap((other) => other.runs);
    const lastStep = Math.max(...all.flatMap((run) => run.step));
    const highest = Math.max(...all.flatMap((run) => [...run.train_error, ...run.test_error]));
    const x = (step) => left + (step / lastStep) * (width - left - right);
    const y = (error) => height - bottom - (error / highest) * (height - top - bottom);
    const picture = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Curves of ${row.name}` });
    for (const step of ticks(lastStep, 8)) {
      picture.append(element("line", { class: "grid", x1: x(step), x2: x(step), y1: top, y2: height - bottom }));
      picture.append(element("text", { x: x(step), y: height - bottom + 16, "text-anchor": "middle" }, step.toLocaleString("en")));
    }
    for (const error of ticks(highest, 6)) {
      picture.append(element("line", { class: "grid", x1: left, x2: width - right, y1: y(error), y2: y(error) }));
      picture.append(element("text", { x: left - 6, y: y(error) + 4, "text-anchor": "end" }, error));
    }
    picture.append(element("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, "step; error in %, test: solid, training (augmented): dashed"));
    for (const run of row.runs) picture.append(...curves(run, x, y));
    return picture;
  };

  const curves = (run, x, y) => {
    const made = [];
    for (const [name, column] of [["training", run.train_error], ["test", run.test_error]]) {
      const places = run.step.map((step, k) => [step, column[k]]).filter(([, error]) => error !== null);
      made.push(element("polyline", { class: name, points: places.map(([step, error]) => `${x(step)},${y(error)}`).join(" ") }));
      for (const [step, error] of name === "test" && places.length < 60 ? places : []) {
        const point = element("circle", { class: "point", cx: x(step), cy: y(error), r: 3 });
        point.append(element("title", {}, `run ${run.number}, step ${step}: ${error.toFixed(2)} %`));
        made.push(point);
      }
    }
    return made;
  };

  const choose = (line) => {
    const row = rows[line.dataset.row];
    if (!row.runs.length) return;
    for (const button of body.querySelectorAll("button")) button.setAttribute("aria-pressed", line.contains(button));
    const title = document.createElement("h2");
    title.textContent = row.name;
    const result = document.createElement("p");
    result.textContent = `${row.here} here (${row.scale})${row.paper && `; the paper: ${row.paper}`}`;
    chosen.replaceChildren(title, result, drawing(row));
    chosen.hidden = false;
    chosen.scrollIntoView({ block: "nearest" });
  };

  for (const line of body.rows) line.addEventListener("click", () => choose(line));
})();
