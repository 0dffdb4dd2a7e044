"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("list");
  const OUTCOMES = ["won", "lost", "both right", "both wrong"];
  let outcome = "all";

  // Text goes in as text nodes only: what documents and models say is never read as HTML.
  const make = (tag, name, ...children) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children);
    return element;
  };

  // Offsets are code points, as Python counts them; a JavaScript string counts UTF-16 units.
  const marked = (text, marks) => {
    const points = Array.from(text);
    const cuts = [...new Set([0, points.length, ...marks.flatMap((mark) => [mark[1], mark[2]])])].sort((a, b) => a - b);
    const body = make("p", "text");
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [start, end] = [cuts[i], cuts[i + 1]];
      const piece = points.slice(start, end).join("");
      const kinds = new Set(marks.filter((mark) => mark[1] <= start && mark[2] >= end).map((mark) => mark[3]));
      body.append(kinds.size ? make("mark", [...kinds].join(" "), piece) : piece);
    }
    return body;
  };

  const answer = (arm, given, answerable) => {
    const score = answerable ? `F1 ${given.score.toFixed(2)}` : given.abstained ? "abstained, rightly" : "should have abstained";
    const notes = [score];
    if (answerable && given.abstained) notes.push("abstained");
    if (given.cut) notes.push(given.cut);
    if (!given.quotes && !given.abstained) notes.push("quotes nothing");
    if (given.quotes) notes.push(`${given.valid} of ${given.quotes} ${given.quotes === 1 ? "quote" : "quotes"} real`);
    const head = make("h4", "arm arm-" + arm, arm);
    const box = make("div", "answer", head, make("p", "raw", given.raw || "(nothing)"), make("p", "quiet", notes.join(" · ")));
    if (given.judged) {
      const grades = given.judged.flatMap(([name, grade, reason]) => [make("dt", "", name, make("b", "", ` ${grade}`)), make("dd", "", reason)]);
      box.append(given.failed ? make("p", "quiet judged", `The judge gave no grade: ${given.failed}`) : make("dl", "judged", ...grades));
    }
    return box;
  };

  const detail = (item) => {
    const answerable = item.references.length > 0;
    const body = make("div", "detail");
    const references = make("p", "references", make("span", "quiet", "Reference  "));
    references.append(answerable ? item.references.join("  |  ") : "none: the documents do not answer this");
    body.append(references);
    body.append(make("div", "answers", ...item.answers.map((given, i) => answer(data.arms[i], given, answerable))));
    if (answerable && !item.shown) body.append(make("p", "quiet", "The evidence was not, or not wholly, among the retrieved passages."));
    const passages = make("ol", "passages");
    item.passages.forEach((at, number) => {
      const passage = data.passages[at];
      const marks = item.marks.filter((mark) => mark[0] === number);
      const box = make("details", "passage", make("summary", "", make("span", "", passage.heading || passage.document), make("span", "quiet", passage.document)));
      box.append(marked(passage.text, marks));
      box.open = marks.length > 0;
      passages.append(make("li", "", box));
    });
    body.append(passages);
    return body;
  };

  const rows = data.questions.map((item) => {
    const badge = make("span", "badge " + item.outcome.replace(" ", "-"), item.outcome);
    const gain = item.answers[1].score - item.answers[0].score;
    const change = Math.abs(gain) < 0.005 ? "" : (gain > 0 ? "+" : "−") + Math.abs(gain).toFixed(2);
    const row = make("details", "question", make("summary", "", badge, make("span", "asked", item.question), make("span", "number quiet", change)));
    row.addEventListener("toggle", () => {
      if (row.open && row.childElementCount === 1) row.append(detail(item));
    });
    const words = [item.question, ...item.references, ...item.answers.map((given) => given.raw), item.kind || ""].join("\n").toLowerCase();
    return { item, row, words };
  });

  const search = document.getElementById("search");
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = rows.filter(({ item, words }) => (outcome === "all" || item.outcome === outcome) && words.includes(wanted));
    list.replaceChildren(...found.map(({ row }) => row));
    document.getElementById("count").textContent = `${found.length} of ${rows.length} questions`;
  };

  const buttons = ["all", ...OUTCOMES].map((name) => {
    const count = rows.filter(({ item }) => name === "all" || item.outcome === name).length;
    const button = make("button", "", name, make("span", "quiet", " " + count));
    button.type = "button";
    button.addEventListener("click", () => {
      outcome = name;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      show();
    });
    button.setAttribute("aria-pressed", String(name === "all"));
    return button;
  });
  document.getElementById("filters").append(...buttons);
  search.addEventListener("input", show);
  addEventListener("beforeprint", () => document.querySelectorAll("main > section > details").forEach((box) => (box.open = true)));
  show();
})();
