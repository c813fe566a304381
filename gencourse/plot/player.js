// The frame player. Its controls are made here and not in the HTML: where no script runs, nothing is shown that
// does not work. The two names in capitals are filled in by player.py.
(() => {
const spec = __SPEC__;
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
      button.dataset.lmSuppressShortcuts = "yes";
      refresh.push(() => { button.textContent = timer ? "\u275A\u275A Pause" : "\u25B6\uFE0E Play"; });
      row.append(button);
    }
    const list = dim.kind === "select";
    const field = list ? make("select", {}, ...dim.labels.map((text, i) => make("option", {value: i}, text)))
                       : make("input", {type: "range", min: 0, max: last, step: 1});
    field.setAttribute("aria-label", dim.name);
    field.dataset.lmSuppressShortcuts = "yes";  // in JupyterLab the arrow keys move the slider, not the cell
    field.oninput = () => { at[k] = Number(field.value); stop(); show(); };
    const value = make("output", {ariaLive: "off"});  // the slider itself tells it
    refresh.push(() => {
      field.value = at[k];
      if (list) return;
      field.setAttribute("aria-valuetext", dim.labels[at[k]]);
      value.textContent = dim.labels[at[k]];
    });
    row.append(make("label", {}, ...(spec.fps ? [] : [make("span", {className: "gc-name"}, dim.name)]), field));
    if (!list) row.append(value);
    if (spec.fps) root.append(row); else root.insertBefore(row, img);
  });
  show();
};
document.querySelectorAll('[id="__ID__"]:not([data-ready])').forEach(start);
})();
