"use strict";
(() => {
  const search = document.getElementById("search");
  if (!search) return;
  const entries = [...document.querySelectorAll("details.document")].map((entry) => {
    const titles = [...entry.querySelectorAll("dl.metadata dd")].slice(0, 2);
    return [entry, [entry.querySelector("summary"), ...titles].map((part) => part.textContent.toLowerCase()).join(" ")];
  });
  const count = document.getElementById("count");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [entry, text] of entries) {
      entry.hidden = !words.every((word) => text.includes(word));
      shown += !entry.hidden;
    }
    count.textContent = `${shown} of ${entries.length} documents`;
  };
  document.getElementById("controls").hidden = false;
  search.addEventListener("input", filter);
  filter();
})();
