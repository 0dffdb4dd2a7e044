"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100; // questions that are drawn at once
  const EVIDENCE = -1;
  const byId = (id) => document.getElementById(id);
  const list = byId("list");
  if (!list) return;

  // Text goes in as text nodes only: what documents and models say is never read as HTML.
  const make = (tag, name, ...children) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children);
    return element;
  };
  const letter = (side) => String.fromCharCode(65 + side);
  const signed = (value) => (Math.abs(value) < 0.005 ? "" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(2));

  // Who marks a stretch is said by letters, not by colour alone.
  const mark = (piece, makers, begun) => {
    const quoting = makers.filter((side) => side !== EVIDENCE);
    const names = ["evidence"].filter(() => quoting.length < makers.length);
    if (quoting.length) names.push(quoting.includes(data.sides.length === 1 ? 0 : 1) || data.sides.length > 4 ? "quoted" : "quoted other");
    const element = make("mark", names.join(" "));
    if (begun.length) {
      const said = begun.map((side) => (side === EVIDENCE ? "gold" : letter(side))).join(" ");
      element.append(make("sup", "", said + " "));
    }
    element.append(piece);
    return element;
  };

  // Offsets are code points, as Python counts them; a JavaScript string counts UTF-16 units.
  const marked = (text, marks) => {
    const points = Array.from(text);
    const cuts = [...new Set([0, points.length, ...marks.flatMap(([, start, end]) => [start, end])])].sort((a, b) => a - b);
    const body = make("p", "text");
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [start, end] = [cuts[i], cuts[i + 1]];
      const piece = points.slice(start, end).join("");
      const here = marks.filter((each) => each[1] <= start && each[2] >= end);
      const makers = [...new Set(here.map((each) => each[3]))].sort((a, b) => a - b);
      const begun = makers.filter((side) => here.some((each) => each[3] === side && each[1] === start));
      body.append(makers.length ? mark(piece, makers, begun) : piece);
    }
    return body;
  };

  const answer = (side, given, answerable) => {
    const score = answerable ? `F1 ${given.score.toFixed(2)}` : given.abstained ? "abstained, rightly" : "should have abstained";
    const notes = [score];
    if (answerable && given.abstained) notes.push("abstained");
    if (given.quotes) notes.push(`${given.valid} of ${given.quotes} ${given.quotes === 1 ? "quote" : "quotes"} real`);
    if (given.cut) notes.push(given.cut);
    if (!given.quotes && !given.abstained) notes.push(given.found ? "quotes nothing, the sentence with its words is marked" : "quotes nothing");
    if (given.quotes && given.found) notes.push("its words stand elsewhere than its quote, and are marked there");
    if (answerable && !given.shown) notes.push("was not shown all of the evidence");
    const head = make("h3", "arm arm-" + data.sides[side].style, `${letter(side)} `, make("span", "", data.sides[side].name));
    const box = make("div", "answer", head, make("p", "raw", given.raw || "(nothing)"), make("p", "quiet", notes.join(" · ")));
    if (given.judged) {
      const grades = given.judged.flatMap(([name, grade, reason]) => [make("dt", "", name, make("b", "", ` ${grade}`)), make("dd", "", reason)]);
      box.append(given.failed ? make("p", "quiet judged", `The judge gave no grade: ${given.failed}`) : make("dl", "judged", ...grades));
    }
    return box;
  };

  const passage = (item, at, number) => {
    const found = data.passages[at];
    const marks = item.marks.filter((each) => each[0] === number);
    const seen = item.answers.flatMap((given, side) => (given && (!given.seen || given.seen.includes(number)) ? [letter(side)] : []));
    const to = seen.length < item.answers.filter(Boolean).length ? ` · shown to ${seen.join(", ") || "none"}` : "";
    const box = make("details", "passage", make("summary", "", make("span", "", found.heading || found.document), make("span", "quiet", found.document + to)));
    box.append(marked(found.text, marks));
    box.open = marks.length > 0;
    return make("li", "", box);
  };

  const detail = (item) => {
    const answerable = item.references.length > 0;
    const references = make("p", "references", make("span", "quiet", "Reference  "));
    references.append(answerable ? item.references.join("  |  ") : "none: the documents do not answer this");
    const facts = make("p", "quiet", [item.id, item.kind, item.stratum && item.stratum.replace("_", " "), item.group].filter(Boolean).join(" · "));
    const answers = item.answers.flatMap((given, side) => (given ? [answer(side, given, answerable)] : []));
    const passages = make("ol", "passages", ...item.passages.map((at, number) => passage(item, at, number)));
    return make("div", "detail", references, make("div", "answers", ...answers), passages, facts);
  };

  const row = (item) => {
    const badge = make("span", "badge " + item.outcome.replaceAll(" ", "-"), item.outcome);
    const change = make("span", "number quiet", signed(item.change));
    const box = make("details", "question", make("summary", "", badge, make("span", "asked", item.question), change));
    box.addEventListener("toggle", () => {
      if (box.open && box.childElementCount === 1) box.append(detail(item));
    });
    return box;
  };
  const rows = new Map();
  const rowOf = (item) => rows.get(item) || rows.set(item, row(item)).get(item);

  let texts; // made when first something is searched for
  const wordsOf = (item) => {
    texts ||= new Map(
      data.questions.map((each) => {
        const said = each.answers.filter(Boolean).map((given) => given.raw);
        return [each, [each.id, each.question, ...each.references, ...said, each.kind || "", each.group].join("\n").toLowerCase()];
      }),
    );
    return texts.get(item);
  };

  const choices = [];
  const choose = (label, options) => {
    const select = make("select", "", ...options.map(([name]) => make("option", "", name)));
    select.addEventListener("change", () => show());
    byId("chosen").append(make("label", "", label + " ", select));
    choices.push(() => options[select.selectedIndex][1]);
  };
  const distinct = (field) => [...new Set(data.questions.map((item) => item[field]).filter(Boolean))].sort();
  for (const [field, label] of [["kind", "Kind"], ["stratum", "Documents"]]) {
    const names = distinct(field);
    if (names.length > 1) choose(label, [["all", () => true], ...names.map((name) => [name.replaceAll("_", " "), (item) => item[field] === name])]);
  }
  const seen = (item) => item.answers.some((given) => given && given.shown);
  const evidence = [["all", () => true], ["shown", seen], ["not all shown", (item) => item.references.length > 0 && !seen(item)]];
  choose("Evidence", [...evidence, ["none: unanswerable", (item) => item.references.length === 0]]);
  const filters = choices.length;
  const main = Math.min(1, data.sides.length - 1);
  const score = (item) => (item.answers[main] || item.answers[0]).score;
  choose("Sort by", [
    ["largest difference", null],
    ["worst answer first", (a, b) => score(a) - score(b)],
    ["best answer first", (a, b) => score(b) - score(a)],
    ["documents", (a, b) => a.group.localeCompare(b.group)],
    ["question", (a, b) => a.question.localeCompare(b.question)],
  ]);

  let outcome = "all";
  let found = [];
  let drawn = 0;
  const draw = (upTo) => {
    list.append(...found.slice(drawn, upTo).map(rowOf));
    drawn = Math.min(upTo, found.length);
    const left = found.length - drawn;
    byId("more").hidden = left === 0;
    byId("more").textContent = `Show ${Math.min(PAGE, left)} more`;
    const shown = left ? `, the first ${drawn} shown` : "";
    byId("count").textContent = `${found.length} of ${data.questions.length} questions${shown}`;
  };
  const show = () => {
    const wanted = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = choices.slice(0, filters).map((choice) => choice());
    found = data.questions.filter((item) => (outcome === "all" || item.outcome === outcome) && tests.every((test) => test(item)));
    if (wanted.length) found = found.filter((item) => wanted.every((word) => wordsOf(item).includes(word)));
    const order = choices[filters]();
    if (order) found.sort(order);
    list.replaceChildren();
    drawn = 0;
    draw(PAGE);
  };

  const buttons = ["all", ...data.outcomes].map((name) => {
    const count = data.questions.filter((item) => name === "all" || item.outcome === name).length;
    const button = make("button", "", name, make("span", "quiet", " " + count));
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === "all"));
    button.addEventListener("click", () => {
      outcome = name;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      show();
    });
    return button;
  });
  byId("outcomes").append(...buttons);
  byId("key").append(make("span", "", make("mark", "evidence", make("sup", "", "gold "), "gold evidence")));
  data.sides.forEach((side, number) => {
    byId("key").append(make("span", "", mark(`quoted by ${side.name}`, [number], [number])));
  });
  byId("search").addEventListener("input", show);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    const next = found[drawn];
    draw(drawn + PAGE);
    rowOf(next).querySelector("summary").focus();
  });
  byId("controls").hidden = false;

  // On paper everything that is folded away is open, but for questions: those that were opened are.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main > section > details:not([open]), .question[open] .passage:not([open])")];
    opened.forEach((box) => (box.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((box) => (box.open = false)));
  show();
})();
