/** A document's text as lines that still read as a document: headings, tables and lists in their looks, every character in its place. */
import { useMemo } from "preact/hooks";
import { segments, type Mark } from "./text";

interface Line {
  start: number;
  kind: string;
  text: string;
  inline: Mark[];
}

const SYNTAX = /^(#{1,6} |>+ )/;

function kindOf(line: string): string {
  if (!line.trim()) return "blank";
  const heading = /^(#{1,6}) /.exec(line);
  if (heading) return `heading h${Math.min(3, heading[1]!.length)}`;
  if (/^\s*\|.*\|\s*$/.test(line)) return /^[\s|:-]+$/.test(line) ? "table ruled" : "table";
  return /^\s*(?:[-*+]|\d+[.)]) /.test(line) ? "item" : "";
}

function linesOf(text: string, inline: readonly Mark[], blocks: readonly Mark[]): Line[] {
  const lines: Line[] = [];
  let at = 0;
  // The newline stays in its line, so that a selection counts the same characters as the text does.
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    const end = at + line.length;
    const kinds = [kindOf(line), ...blocks.filter((block) => block.start <= at && block.end > at).map((block) => block.kind)];
    const marks = inline.filter((mark) => mark.start < end && mark.end > at).map((mark) => ({ ...mark, start: Math.max(0, mark.start - at), end: Math.min(line.length, mark.end - at) }));
    const syntax = SYNTAX.exec(line);
    if (syntax) marks.push({ start: 0, end: syntax[0].length, kind: "syntax" });
    lines.push({ start: at, kind: kinds.filter(Boolean).join(" "), text: line, inline: marks });
    at = end;
  }
  return lines;
}

const marked = (kinds: string[]): boolean => kinds.some((kind) => kind.startsWith("quoted") || kind === "found");

/** `inline` marks words, `blocks` shades whole lines; both in UTF-16 units. */
export function Lines({ text, inline, blocks }: { text: string; inline: readonly Mark[]; blocks: readonly Mark[] }) {
  const lines = useMemo(() => linesOf(text, inline, blocks), [text, inline, blocks]);
  return (
    <>
      {lines.map((line) => (
        <div key={line.start} class={`line ${line.kind}`}>
          {segments(line.text, line.inline).map((piece) =>
            marked(piece.kinds) ? <mark key={piece.start} class={piece.kinds.join(" ")}>{piece.text}</mark> : piece.kinds.length ? <span key={piece.start} class={piece.kinds.join(" ")}>{piece.text}</span> : piece.text,
          )}
        </div>
      ))}
    </>
  );
}
