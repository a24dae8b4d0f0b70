"""What moves in a page: sliders and pickers. Without it everything is shown at once."""

SCRIPT = """"use strict";
for (const box of document.querySelectorAll("[data-compare]")) {
  const range = box.querySelector("input");
  const panes = box.querySelector(".panes");
  const show = () => {
    box.style.setProperty("--cut", range.value + "%");
    range.setAttribute("aria-valuetext", range.value + " % " + box.dataset.first + ", "
      + (100 - range.value) + " % " + box.dataset.second);
  };
  const drag = (event) => {
    if (!event.buttons) return;
    const place = panes.getBoundingClientRect();
    range.value = Math.round(100 * (event.clientX - place.left) / place.width);
    show();
  };
  range.addEventListener("input", show);
  panes.addEventListener("pointerdown", drag);
  panes.addEventListener("pointermove", drag);
  panes.addEventListener("dragstart", (event) => event.preventDefault());
  box.classList.add("live");
  range.closest("label").hidden = false;
  show();
}
for (const box of document.querySelectorAll("[data-picker]")) {
  const range = box.querySelector("input");
  const text = box.querySelector("output");
  const figures = box.querySelectorAll("figure");
  const show = () => {
    figures.forEach((each, number) => {
      each.classList.toggle("unpicked", number !== Number(range.value));
    });
    text.textContent = figures[range.value].dataset.name;
    range.setAttribute("aria-valuetext", figures[range.value].dataset.name);
  };
  range.addEventListener("input", show);
  range.closest("label").hidden = false;
  show();
}
"""
