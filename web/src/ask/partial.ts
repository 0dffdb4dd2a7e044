/** What a half-written answer shows. Tuned models write quotes on lines of their own, then "Answer:"; others write as they like. */

const MARK = "Answer:";
const OPEN = /^\s*["“”„]/;

export interface Partial {
  quotes: string[];
  answer: string;
}

export function takeApart(raw: string): Partial {
  const text = raw.trimStart();
  const at = /(?:^|\n)\s*Answer:/.exec(text);
  if (at) return { quotes: quotesOf(text.slice(0, at.index)), answer: text.slice(at.index + at[0].length).trimStart() };
  if (OPEN.test(text)) return { quotes: quotesOf(text), answer: "" };
  return { quotes: [], answer: MARK.startsWith(text) ? "" : text };
}

const quotesOf = (text: string): string[] =>
  text
    .split("\n")
    .filter((line) => OPEN.test(line))
    .map((line) => line.replace(OPEN, "").replace(/["“”]\s*$/, ""))
    .filter((quote) => quote.trim());
