/* What scrolls inside a page can be reached and scrolled with the keyboard. */
(function () {
  "use strict";
  function mark() {
    document.querySelectorAll("article table, article pre, article mjx-container[display], article div.math").forEach(
      function (box) {
        if (box.scrollWidth > box.clientWidth + 1) { box.tabIndex = 0; }
      });
  }
  window.addEventListener("load", mark);
  window.addEventListener("resize", mark);
}());
