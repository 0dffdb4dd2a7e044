/** The document behind a citation, beside the conversation: scrolled to the place, the quote marked, its chunk shaded. */
import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, type SourceDocument, type Span } from "./api";
import { Lines } from "./lines";
import { offsets, type Mark } from "./text";
import { Button, Notice, Search, useLoad, useMedia, Waiting, WIDE } from "./ui";

export interface Opened {
  document: string;
  title: string;
  /** In code points. */
  quotes: { start: number; end: number }[];
  chunk?: { start: number; end: number };
  /** Which quote to show first. */
  at?: number;
}

export const opened = signal<Opened | null>(null);
let opener: Element | null = null;

export function openSource(what: Opened): void {
  if (!opened.value) opener = document.activeElement;
  opened.value = what;
}

export function closeSource(): boolean {
  if (!opened.value) return false;
  opened.value = null;
  const back = opener;
  // A modal sheet must be gone before anything behind it can take the focus.
  if (back instanceof HTMLElement) setTimeout(() => back.focus());
  return true;
}

/** The text of a document with marks over it; offsets come in code points. */
export function DocumentText(props: { document: SourceDocument; quotes: readonly Omit<Span, "document">[]; chunk?: Omit<Span, "document">; boundaries?: boolean; find?: string; focus?: number }) {
  const { document: shown, quotes, chunk, boundaries, find, focus } = props;
  const place = useRef<HTMLDivElement>(null);
  const { inline, blocks } = useMemo(() => {
    const { units } = offsets(shown.text);
    const at = (span: { start: number; end: number }, kind: string): Mark => ({ start: units(span.start), end: units(span.end), kind });
    const searched = find && find.length > 1 ? found(shown.text, find) : [];
    return {
      inline: [...quotes.map((quote, number) => at(quote, `quoted q${number}`)), ...searched],
      blocks: [...(chunk ? [at(chunk, "chunk")] : []), ...(boundaries ? shown.chunks.map((each, number) => at(each, number % 2 ? "odd" : "even")) : [])],
    };
  }, [shown, quotes, chunk, boundaries, find]);
  useEffect(() => {
    const target = place.current?.querySelector(find && find.length > 1 ? ".found" : quotes.length ? `.q${focus ?? 0}` : ".chunk");
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    target?.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  }, [inline, blocks, focus]);
  return (
    <div ref={place} class={`document-text ${boundaries ? "bounded" : ""}`}>
      <Lines text={shown.text} inline={inline} blocks={blocks} />
    </div>
  );
}

export function found(text: string, wanted: string): Mark[] {
  const low = text.toLowerCase();
  const marks: Mark[] = [];
  for (let at = low.indexOf(wanted.toLowerCase()); at >= 0 && marks.length < 500; at = low.indexOf(wanted.toLowerCase(), at + wanted.length))
    marks.push({ start: at, end: at + wanted.length, kind: "found" });
  return marks;
}

export function SourcePanel() {
  const what = opened.value;
  return what ? <Panel key={what.document} what={what} /> : null;
}

function Panel({ what }: { what: Opened }) {
  const wide = useMedia(WIDE);
  const dialog = useRef<HTMLDialogElement>(null);
  const loaded = useLoad(() => api.document(what.document), [what.document]);
  const [at, setAt] = useState(what.at ?? 0);
  const [find, setFind] = useState("");
  useEffect(() => setAt(what.at ?? 0), [what]);
  useEffect(() => {
    const node = dialog.current!;
    node.close();
    if (wide) node.show();
    else node.showModal();
    node.querySelector("h2")?.focus();
  }, [wide]);
  const step = (by: number) => setAt((at + by + what.quotes.length) % what.quotes.length);
  return (
    <dialog
      ref={dialog}
      class="source"
      aria-labelledby="source-title"
      onCancel={(event) => {
        event.preventDefault();
        closeSource();
      }}
      onClick={(event) => event.target === dialog.current && !wide && closeSource()}
    >
      <div class="sheet">
        <div class="head">
          <div>
            <h2 id="source-title" tabIndex={-1}>{loaded.data?.title ?? what.title}</h2>
            <p class="quiet">{what.document}</p>
          </div>
          <Button icon="close" look="quiet" label="Close the document (Esc)" onClick={() => closeSource()} />
        </div>
        <div class="tools">
          <Search label="Find in this document" value="" change={setFind} />
          {what.quotes.length > 1 && (
            <span class="steps">
              <Button icon="left" look="quiet" label="Previous quote" onClick={() => step(-1)} />
              <span class="quiet">{`Quote ${at + 1} of ${what.quotes.length}`}</span>
              <Button icon="right" look="quiet" label="Next quote" onClick={() => step(1)} />
            </span>
          )}
        </div>
        <div class="body" tabIndex={0} role="region" aria-label="Text of the document">
          {loaded.error ? (
            <Notice kind="error">{loaded.error}</Notice>
          ) : loaded.data ? (
            <DocumentText document={loaded.data} quotes={what.quotes} focus={at} find={find} {...(what.chunk ? { chunk: what.chunk } : {})} />
          ) : (
            <Waiting what="the document" lines={8} />
          )}
        </div>
      </div>
    </dialog>
  );
}
