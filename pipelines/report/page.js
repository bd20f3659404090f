// Search and filters over the samples; everything is there without it.
"use strict";
for (const form of document.querySelectorAll("form.filters")) {
  const list = document.getElementById(form.dataset.for);
  const none = list.parentElement.querySelector(".none");
  const samples = [...list.children].map((article) => ({ article, text: article.textContent.toLowerCase() }));
  const choose = () => {
    const asked = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
    let shown = 0;
    for (const { article, text } of samples) {
      const fits = asked.every(([name, value]) =>
        name === "search"
          ? value.toLowerCase().trim().split(/\s+/).every((word) => text.includes(word))
          : article.dataset[name] === value);
      article.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent =
      shown === samples.length ? `${shown} samples` : `${shown} of ${samples.length} samples`;
    none.hidden = shown > 0;
  };
  form.addEventListener("input", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  choose();
}
// One sound at a time.
document.addEventListener("play", (event) => {
  for (const audio of document.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
}, true);
// Paper cannot be clicked on.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.ids)")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
