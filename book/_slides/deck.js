/* Starts the deck: typesets the mathematics, then gives each picture or table the room that is left on its slide. */
(function () {
  "use strict";
  function fit(section) {
    section.querySelectorAll(".slide").forEach(enlarge);
    section.querySelectorAll(".slide > pre").forEach(function (code) {  // long lines: smaller letters, to a limit
      code.style.fontSize = "";
      var factor = Math.max(0.78, Math.min(1, (code.clientWidth - 32) / (code.scrollWidth - 32)));
      code.style.fontSize = 21 * factor + "px";
    });
    section.querySelectorAll(".output").forEach(function (room) {
      var inner = room.firstElementChild;
      inner.style.zoom = 1;
      var have = room.getBoundingClientRect(), scale = have.width ? room.offsetWidth / have.width : 1;
      var size = inner.getBoundingClientRect();
      if (!size.width || !size.height) { return; }
      var factor = Math.min(room.offsetWidth / (size.width * scale), room.offsetHeight / (size.height * scale), 2.4);
      inner.style.zoom = Math.floor(factor * 100) / 100;
    });
  }
  // A slide of text alone has letters as large as its room allows.
  function enlarge(slide) {
    if (slide.querySelector(".output") || slide.classList.contains("front")) { return; }
    [1.36, 1.28, 1.2, 1.12, 1.06, 1].some(function (factor) {
      slide.style.fontSize = 28 * factor + "px";
      var parts = Array.prototype.slice.call(slide.querySelectorAll(".statement, .math, ul, pre")).concat(slide);
      return slide.scrollHeight <= 721 && parts.every(function (part) {
        return part.scrollWidth <= part.clientWidth + 1;
      });
    });
  }
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t", transition: "none",
    plugins: [RevealNotes], viewDistance: 1000, pdfSeparateFragments: false
  }).then(function () { return MathJax.startup.promise; }).then(function () {
    return MathJax.typesetPromise();
  }).then(function () {
    fit(Reveal.getCurrentSlide());
    Reveal.on("slidechanged", function (event) { fit(event.currentSlide); });
    Reveal.on("pdf-ready", function () { document.querySelectorAll("section").forEach(fit); });
    document.documentElement.dataset.ready = "yes";
  });
}());
