// The blind test: one digit at a time, real or generated? Filled in by blind.py; nothing leaves the page.
(() => {
const spec = __SPEC__;
const make = (tag, props, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
const percent = (wrong, shown) => shown ? Math.round(100 * wrong / shown) + " %" : "\u2013";
const start = (root) => {
  root.dataset.ready = "yes";
  root.querySelector(".gc-note")?.remove();
  const scores = spec.names.map(() => ({shown: 0, wrong: 0}));
  const canvas = make("canvas", {width: spec.side, height: spec.side});
  canvas.style.cssText = "width:168px;height:168px;image-rendering:pixelated;border-radius:4px;display:block";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "A digit of black and white pixels, real or generated");
  const context = canvas.getContext("2d"), said = make("output", {}), cells = [];
  let now = null;
  const draw = (hex) => {
    const image = context.createImageData(spec.side, spec.side);
    for (let i = 0; i < spec.side * spec.side; i++) {
      const byte = parseInt(hex.substr(2 * (i >> 3), 2), 16), on = (byte >> (i & 7)) & 1;
      image.data.set([255 * on, 255 * on, 255 * on, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  };
  const next = () => {
    const who = Math.floor(Math.random() * spec.names.length), real = Math.random() < 0.5;
    const from = real ? spec.real : spec.fake[who];
    now = {who, real};
    draw(from[Math.floor(Math.random() * from.length)]);
    root.dataset.real = real ? "yes" : "no";
  };
  const show = () => {
    let shown = 0, wrong = 0;
    scores.forEach((s, i) => {
      shown += s.shown; wrong += s.wrong;
      cells[i].textContent = percent(s.wrong, s.shown) + (s.shown ? " of " + s.shown : "");
    });
    cells[spec.names.length].textContent = percent(wrong, shown) + (shown ? " of " + shown : "");
  };
  const answer = (real) => {
    const right = real === now.real, score = scores[now.who];
    score.shown += 1;
    score.wrong += right ? 0 : 1;
    said.textContent = (right ? "Right: " : "No: ") + (now.real ? "a real digit." : "drawn by " + spec.names[now.who] + ".");
    show();
    next();
  };
  const button = (text, real) => {
    const node = make("button", {type: "button", onclick: () => answer(real)}, text);
    node.dataset.lmSuppressShortcuts = "yes";
    return node;
  };
  const line = (...cells) => {
    cells.forEach((cell) => { cell.style.cssText = "text-align:left;padding:.1em 1.2em .1em 0"; });
    return make("tr", {}, ...cells);
  };
  const row = (name, error) => {
    cells.push(make("td", {}));
    return line(make("th", {scope: "row"}, name), cells[cells.length - 1], make("td", {}, error));
  };
  const head = ["Entrant", "Your error", "A classifier's error"].map((t) => make("th", {scope: "col"}, t));
  const body = spec.names.map((name, i) => row(name, percent(spec.classifier[i], 1)));
  root.append(canvas, make("div", {className: "gc-row"}, button("Real", true), button("Generated", false), said),
    make("table", {}, make("thead", {}, line(...head)), make("tbody", {}, ...body, row("All", ""))));
  show();
  next();
};
document.querySelectorAll("#__ID__:not([data-ready])").forEach(start);
})();
