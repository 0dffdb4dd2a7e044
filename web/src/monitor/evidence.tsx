/** Mark the evidence: select it in the document with mouse or finger, or write its words and have them found. */
import { useMemo, useRef, useState } from "preact/hooks";
import { api, type Passage, type Span } from "../api";
import { Lines } from "../lines";
import { offsets, type Mark } from "../text";
import { Button, Notice, Select, Shown, useLoad } from "../ui";

type Marked = Span & { text: string };

export function Evidence({ passages, evidence, change }: { passages: Passage[]; evidence: Marked[]; change: (evidence: Marked[]) => void }) {
  const documents = useMemo(() => [...new Map(passages.map((passage) => [passage.document, passage.title])).entries()], [passages]);
  const [source, setSource] = useState(documents[0]?.[0] ?? "");
  const [other, setOther] = useState("");
  const options = [...documents.map(([name, title]) => [name, title || name] as const), ...(other ? [[other, other] as const] : [])];
  return (
    <section class="evidence" aria-label="Evidence">
      <div class="row">
        <h3>Where it stands</h3>
        <span class="grow" />
        {options.length > 0 && <Select label="Document" shown={false} value={source} options={options} change={setSource} />}
        <OtherDocument choose={(name) => (setOther(name), setSource(name))} />
      </div>
      {evidence.length > 0 && (
        <ul class="marked">
          {evidence.map((each, index) => (
            <li key={index}>
              <q>{each.text}</q> <span class="quiet small">{each.document}</span>
              <Button icon="close" look="quiet" label="Take this mark away" onClick={() => change(evidence.filter((_, at) => at !== index))} />
            </li>
          ))}
        </ul>
      )}
      {source && <Text key={source} source={source} passages={passages} evidence={evidence} add={(marked) => change([...evidence, marked])} />}
    </section>
  );
}

function OtherDocument({ choose }: { choose: (name: string) => void }) {
  const [query, setQuery] = useState<string | null>(null);
  const loaded = useLoad(() => (query === null ? Promise.resolve(null) : api.documents({ query, limit: 8 })), [query]);
  if (query === null) return <Button look="quiet" icon="search" onClick={() => setQuery("")}>Another document</Button>;
  return (
    <div class="other">
      <label class="hidden" for="other-document">Search the documents</label>
      <input id="other-document" type="search" placeholder="Title or path" ref={(node) => node?.focus()} onInput={(event) => setQuery(event.currentTarget.value)} />
      <ul>
        {loaded.data?.documents.map((row) => (
          <li key={row.source}><Button look="quiet" onClick={() => (choose(row.source), setQuery(null))}>{row.title || row.source}</Button></li>
        ))}
      </ul>
    </div>
  );
}

function Text({ source, passages, evidence, add }: { source: string; passages: Passage[]; evidence: Marked[]; add: (marked: Marked) => void }) {
  const loaded = useLoad(() => api.document(source), [source]);
  const place = useRef<HTMLDivElement>(null);
  const [selected, setSelected] = useState<{ start: number; end: number } | null>(null);
  const [words, setWords] = useState("");
  const [missing, setMissing] = useState(false);
  return (
    <Shown loaded={loaded} what="the document" lines={6}>
      {({ text }) => {
        const { units, points } = offsets(text);
        const mark = (start: number, end: number) => {
          add({ document: source, start: points(start), end: points(end), text: text.slice(start, end) });
          setSelected(null);
          getSelection()?.removeAllRanges();
        };
        const find = () => {
          const sought = words.trim().replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, "\\s+");
          // Not by lower case: some letters have another length there.
          const found = sought ? new RegExp(sought, "iu").exec(text) : null;
          setMissing(!found);
          if (found) {
            mark(found.index, found.index + found[0].length);
            setWords("");
          }
        };
        const here = (spans: readonly Span[], kind: string): Mark[] => spans.filter((each) => each.document === source).map((each) => ({ start: units(each.start), end: units(each.end), kind }));
        return (
          <>
            <div class="row">
              <label class="hidden" for="evidence-words">Words of the document</label>
              <input id="evidence-words" class="grow" value={words} placeholder="Select in the text below, or write its words here" onInput={(event) => (setWords(event.currentTarget.value), setMissing(false))} onKeyDown={(event) => event.key === "Enter" && find()} />
              <Button onClick={() => (selected ? mark(selected.start, selected.end) : find())} disabled={!selected && !words.trim()} look={selected ? "main" : "plain"}>
                {selected ? "Mark the selection" : "Mark these words"}
              </Button>
            </div>
            {missing && <div ref={(node) => node?.scrollIntoView({ block: "center" })}><Notice kind="warning">These words do not stand in this document.</Notice></div>}
            <div ref={place} class="document-text selectable" tabIndex={0} role="region" aria-label="Text of the document: select the evidence" onMouseUp={() => setSelected(selection(place.current!))} onTouchEnd={() => setTimeout(() => place.current && setSelected(selection(place.current)), 50)} onKeyUp={() => setSelected(selection(place.current!))}>
              <Lines text={text} inline={here(evidence, "quoted")} blocks={here(passages, "chunk")} />
            </div>
          </>
        );
      }}
    </Shown>
  );
}

/** The selection in UTF-16 units of the shown text, without the white space around it. */
function selection(place: HTMLElement): { start: number; end: number } | null {
  const chosen = getSelection();
  if (!chosen || chosen.isCollapsed || !chosen.rangeCount) return null;
  const range = chosen.getRangeAt(0);
  if (!place.contains(range.commonAncestorContainer)) return null;
  const before = document.createRange();
  before.selectNodeContents(place);
  before.setEnd(range.startContainer, range.startOffset);
  const text = range.toString();
  const start = before.toString().length + (text.length - text.trimStart().length);
  return text.trim() ? { start, end: start + text.trim().length } : null;
}
