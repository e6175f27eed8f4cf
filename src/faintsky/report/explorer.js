// What a page's maps and table do beyond Bokeh's own.

function fsFixed(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits) : "–";
}

function fsError(value, error) {
  // a value and its error with two digits of the error
  if (!Number.isFinite(value)) return "–";
  if (!Number.isFinite(error) || error <= 0) return value.toPrecision(3);
  const digits = Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return value.toFixed(digits) + " ± " + error.toFixed(digits);
}

function fsFilter(source, least, words, kind) {
  const data = source.data, n = data.id.length, wanted = (words.value || "").trim();
  return Array.from({length: n}, (_, i) =>
    !(data.snr && least.value > 0 && !(data.snr[i] >= least.value)) &&
    (kind.value == "all" || data.kind[i] == kind.value) &&
    (!wanted || (data.flags && data.flags[i].split(",").some(f => f.trim().startsWith(wanted)))));
}

function fsSky(sky, x, y, shape) {
  // right ascension and declination in hours, minutes, degrees; between nodes unit vectors are interpolated
  const n = sky.nodes - 1, at = (v, size) => Math.min(Math.max((v + 0.5) / size * n, 0), n - 1e-9);
  const i = at(x, shape[1]), j = at(y, shape[0]), a = Math.floor(i), b = Math.floor(j);
  const mean = [0, 1, 2].map(k => [[0, 0], [0, 1], [1, 0], [1, 1]].reduce((sum, [p, q]) => {
    const value = sky.vectors[((b + q) * sky.nodes + a + p) * 3 + k];
    const weight = (p ? i - a : 1 - i + a) * (q ? j - b : 1 - j + b);
    return sum + weight * (value === null ? NaN : value);
  }, 0));
  if (!mean.every(Number.isFinite)) return "off the sky";
  const dec = Math.atan2(mean[2], Math.hypot(mean[0], mean[1])) * 180 / Math.PI;
  const ra = ((Math.atan2(mean[1], mean[0]) * 12 / Math.PI) + 24) % 24;
  const sexagesimal = (value, digits) => {
    const unit = 10 ** digits, all = Math.round(value * 3600 * unit);
    const whole = Math.floor(all / 3600 / unit), rest = all - whole * 3600 * unit;
    const minutes = Math.floor(rest / 60 / unit), seconds = (rest - minutes * 60 * unit) / unit;
    const two = v => String(v).padStart(2, "0");
    return two(whole) + ":" + two(minutes) + ":" + (seconds < 10 ? "0" : "") + seconds.toFixed(digits);
  };
  return sexagesimal(ra, 2) + " " + (dec < 0 ? "−" : "+") + sexagesimal(Math.abs(dec), 1);
}

function fsMoved(event, place, maps, sky, ends, names, shape) {
  const {x, y} = event;
  if (!(x > -0.5 && y > -0.5 && x < shape[1] - 0.5 && y < shape[0] - 0.5)) { place.text = "&nbsp;"; return; }
  const shown = names.map(([title, unit], k) => {
    const map = maps.data["map" + k][0], [rows, columns] = map.shape;
    const i = Math.floor((x + 0.5) / shape[1] * columns), j = Math.floor((y + 0.5) / shape[0] * rows);
    const shade = map[Math.min(j, rows - 1) * columns + Math.min(i, columns - 1)];
    if (!shade) return title + " blank";
    const [low, high, linear] = ends[k], part = (shade - 1) / 254;
    const from = linear ? Math.asinh(low / linear) : low, to = linear ? Math.asinh(high / linear) : high;
    const value = from + part * (to - from);
    return title + " " + (linear ? linear * Math.sinh(value) : value).toPrecision(2) + " " + unit;
  });
  const text = `x ${x.toFixed(1)}  y ${y.toFixed(1)}   ${fsSky(sky, x, y, shape)}   ≈ ${shown.join(",  ")}`;
  const div = document.createElement("div");
  div.textContent = text;
  place.text = div.innerHTML;
}

function fsChosen(source, xRange, yRange, labels) {
  const detail = document.getElementById("detail"), i = source.selected.indices[0];
  if (i === undefined) { detail.textContent = "Click an object, in a map or in the table."; return; }
  const data = source.data, x = data.x_[i], y = data.y_[i], size = Math.max(data.major_[i], 1);
  const wide = xRange.end - xRange.start, high = yRange.end - yRange.start;
  const inside = x > xRange.start && x < xRange.end && y > yRange.start && y < yRange.end;
  // a cut-out, where the object is small in what is shown now, or not in it
  if (!inside || wide > 25 * size) {
    const half = 7 * size;
    xRange.setv({start: x - half, end: x + half});
    yRange.setv({start: y - half * high / wide, end: y + half * high / wide});
  }
  const list = document.createElement("dl");
  for (const [name, label] of Object.entries(labels)) {
    const value = data[name][i], error = data[name + "_err"];
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.innerHTML = label;
    said.textContent = typeof value == "number" && !Number.isInteger(value)
      ? (error ? fsError(value, error[i]) : String(+value.toPrecision(8))) : String(value);
    list.append(term, said);
  }
  detail.replaceChildren(list);
  const drawing = document.getElementById("source-" + data.id[i]);
  if (drawing) {
    const copy = drawing.cloneNode(true);
    copy.removeAttribute("id");
    detail.prepend(copy);
  }
}

function fsBlink(on, images, title) {
  const show = now => {
    images.forEach((image, k) => { image.visible = k == now; });
    title.text = images[now].name;
  };
  clearInterval(window.fsTimer);
  show(0);
  let now = 0;
  if (on) window.fsTimer = setInterval(() => show(now = (now + 1) % images.length), 700);
}
