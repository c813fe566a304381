"""The look and the behaviour of the frame player: its inline style and its script, which fetch nothing."""

CSS = """
.gc-player{max-width:100%;margin:.4em 0;color:inherit;font-size:14px;line-height:1.5}
.gc-player img{display:block;max-width:100%;height:auto;margin:0;border-radius:4px}
.gc-player .gc-row{display:flex;flex-wrap:wrap;align-items:center;gap:.3em .8em;margin:.45em 0;max-width:100%}
.gc-player label{display:contents}
.gc-player .gc-name{min-width:4.5em;font-weight:600}
.gc-player input{flex:1 1 9em;min-width:0;max-width:22em;margin:0;accent-color:#0072B2}
.gc-player output{min-width:5em;font-variant-numeric:tabular-nums}
.gc-player button,.gc-player select{font:inherit;color:inherit;background:transparent;border:1px solid currentColor;
 border-radius:4px;padding:.15em .7em;cursor:pointer}
.gc-player button{min-width:6.2em}
.gc-player option{color:#111;background:#fff}
.gc-player :focus-visible{outline:2px solid #56B4E9;outline-offset:2px}
"""

# The controls are made here, not in the HTML: where no script runs there is nothing that does not work.
SCRIPT = """
(() => {
const spec = SPEC;
const make = (tag, props, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
const start = (root) => {
  root.dataset.ready = "yes";
  root.querySelector(".gc-note")?.remove();
  const img = root.querySelector("img"), at = [...spec.start], refresh = [];
  const index = () => spec.dims.reduce((sum, dim, k) => sum * dim.labels.length + at[k], 0);
  const first = index(), still = img.src;
  const show = () => {
    const i = index(), state = spec.dims.map((dim, k) => dim.name + " = " + dim.labels[at[k]]).join(", ");
    img.src = i === first ? still : "data:image/webp;base64," + spec.frames[i];
    img.alt = spec.alt + " (" + state + ")";
    root.dataset.frame = i;
    refresh.forEach((update) => update());
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; refresh.forEach((update) => update()); };
  spec.dims.forEach((dim, k) => {
    const row = make("div", {className: "gc-row"}), last = dim.labels.length - 1;
    if (spec.fps) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const step = () => {
        if (!root.isConnected || (calm && at[k] === last)) return stop();
        at[k] = (at[k] + 1) % (last + 1);
        show();
      };
      const button = make("button", {type: "button", onclick: () => {
        if (timer) return stop();
        if (at[k] === last) at[k] = -1;
        timer = setInterval(step, 1000 / (calm ? Math.min(spec.fps, 2) : spec.fps));
        step();
      }});
      refresh.push(() => { button.textContent = timer ? "\\u275A\\u275A Pause" : "\\u25B6\\uFE0E Play"; });
      row.append(button);
    }
    const list = dim.kind === "select";
    const field = list ? make("select", {}, ...dim.labels.map((text, i) => make("option", {value: i}, text)))
                       : make("input", {type: "range", min: 0, max: last, step: 1});
    field.setAttribute("aria-label", dim.name);
    field.oninput = () => { if (timer) stop(); at[k] = Number(field.value); show(); };
    const value = make("output", {});
    refresh.push(() => {
      field.value = at[k];
      if (list) return;
      field.setAttribute("aria-valuetext", dim.labels[at[k]]);
      value.textContent = dim.labels[at[k]];
    });
    row.append(make("label", {}, ...(spec.fps ? [] : [make("span", {className: "gc-name"}, dim.name)]), field));
    if (!list) row.append(value);
    root.append(row);
  });
  show();
};
document.querySelectorAll('[id="ID"]:not([data-ready])').forEach(start);
})();
"""
