/* Formulas fit narrow screens, and what scrolls inside a page can be reached and scrolled with the keyboard. */
(function () {
  "use strict";
  function mark() {
    document.querySelectorAll("article table, article pre, article mjx-container[display], article div.math").forEach(
      function (box) {
        if (box.scrollWidth > box.clientWidth + 1) { box.tabIndex = 0; }
      });
  }
  /* Formulas that are wider than the page get smaller letters, to a limit; beyond that they scroll. */
  function shrink() {
    document.querySelectorAll("article mjx-container").forEach(function (formula) {
      var own = formula.dataset.size || formula.style.fontSize || "100%";  // what MathJax chose
      formula.dataset.size = formula.style.fontSize = own;
      var line = formula.parentElement.closest("p, li, dd, td") || formula.parentElement;
      var display = formula.getAttribute("display") === "true", inner = formula.querySelector("mjx-math") || formula;
      var room = function () { return display ? formula.clientWidth : line.clientWidth; };
      var width = function () { return display ? formula.scrollWidth : inner.getBoundingClientRect().width; };
      var over = function () { return width() - room(); };
      if (over() > 8) {
        formula.style.fontSize = parseFloat(own) * Math.max(0.55, 0.97 * room() / width()) + "%";
      }
      formula.classList.toggle("goes-on", over() > 8);
    });
    mark();
  }
  function start() {
    var ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    (ready || Promise.resolve()).then(shrink);
  }
  window.addEventListener("load", start);
  window.addEventListener("resize", start);
}());
