"use strict";
(() => {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const chosen = root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.style.colorScheme = chosen === "dark" ? "light" : "dark";
  });

  // Tables sort by a cell's data-value (a number) or else by its text; a second click turns the order round.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => {
        const a = valueOf(one, column), b = valueOf(other, column);
        const order = typeof a === "number" ? a - b : a.localeCompare(b);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    }));
  }

  // Charts tell the values under the pointer.
  const hover = document.getElementById("hover");
  const short = (value) => Number(value.toPrecision(4)).toString();
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const chart = JSON.parse(figure.dataset.chart), svg = figure.querySelector("svg");
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    const hide = () => { hover.hidden = true; cursor.remove(); };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * chart.width;
      const share = Math.min(1, Math.max(0, (at - chart.left) / (chart.right - chart.left)));
      const wanted = chart.x[0] + share * (chart.x[1] - chart.x[0]);
      const near = (series) => series.x.reduce((best, x, place) =>
        Math.abs(x - wanted) < Math.abs(series.x[best] - wanted) ? place : best, 0);
      const places = chart.series.map(near);
      const told = chart.series.map((series, k) => `${series.name}  ${short(series.y[places[k]])}`);
      const x = chart.series[0].x[places[0]];
      hover.textContent = [`after ${short(x)} updates`, ...told].join("\n");
      hover.hidden = false;
      const left = Math.min(event.clientX + 14, innerWidth - hover.offsetWidth - 8);
      hover.style.left = `${left}px`;
      hover.style.top = `${event.clientY + 14}px`;
      const place = chart.left + (x - chart.x[0]) / ((chart.x[1] - chart.x[0]) || 1) * (chart.right - chart.left);
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, place);
      cursor.setAttribute("y1", 12);
      cursor.setAttribute("y2", 204);
      svg.append(cursor);
    });
  }

  // Videos tell the quality of the foresight at the step shown, play while in view, and give way to the film strip.
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const film of document.querySelectorAll("[data-film]")) {
    const data = JSON.parse(film.dataset.film);
    const video = film.querySelector("video"), score = film.querySelector(".score");
    const tell = (time) => {
      const step = Math.floor(time * data.fps + 1e-3);
      const parts = Object.entries(data.psnr).filter(([, values]) => step < values.foreseen.length)
        .map(([camera, values]) => `${camera}, t = ${step}: ${values.foreseen[step].toFixed(1)} dB, ` +
          `repeating the present ${values.repeated[step].toFixed(1)} dB`);
      score.textContent = parts.length && !video.paused ? parts.join("\n") : score.dataset.average;
    };
    const onFrame = (_, frame) => {
      tell(frame.mediaTime);
      video.requestVideoFrameCallback(onFrame);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
    else video.addEventListener("timeupdate", () => tell(video.currentTime));
    video.addEventListener("pause", () => tell(video.currentTime));
    video.addEventListener("error", () => {
      video.hidden = true;
      film.querySelector("details").open = true;
    });
    if (!still) {
      new IntersectionObserver(([entry]) => {
        if (entry.isIntersecting) video.play().catch(() => {});
        else video.pause();
      }, { threshold: 0.5 }).observe(video);
    }
  }
})();
