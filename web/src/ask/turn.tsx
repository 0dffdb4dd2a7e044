/** One question with what was found and answered, for one model or two side by side. */
import { useState } from "preact/hooks";
import type { Answer, Citation, Passage } from "../api";
import { Icon } from "../icons";
import { Markdown } from "../markdown";
import { Lines } from "../lines";
import { openSource } from "../source";
import { status } from "../state";
import { duration, likelihood, percent } from "../text";
import { Button, Notice, useMedia, WIDE } from "../ui";
import { Feedback } from "./feedback";
import { takeApart } from "./partial";
import { regenerate, resend } from "./run";
import { working, type Column, type Turn } from "./store";

export const modelTitle = (name: string): string => (name === "ragtune" ? `ragtune (${status.value?.model ?? "served"})` : name);

export function openPassage(passage: Passage): void {
  openSource({ document: passage.document, title: passage.title, quotes: [], chunk: passage });
}

/** The headings that a passage stands under, from the outermost on, but for one that repeats the document's title. */
function place(passage: Passage): string[] {
  const headings = passage.headings ? passage.headings.split(" › ") : [];
  return headings[0] === passage.title ? headings.slice(1) : headings;
}

function openCitation(citation: Citation, answer: Answer): void {
  const same = answer.citations.filter((each) => each.document === citation.document);
  const chunk = answer.passages.find((passage) => passage.document === citation.document && passage.start <= citation.start && passage.end >= citation.end);
  openSource({ document: citation.document, title: citation.title, quotes: same, at: same.indexOf(citation), ...(chunk ? { chunk } : {}) });
}

export function TurnView({ turn, conversation, last }: { turn: Turn; conversation: string; last: boolean }) {
  const wide = useMedia(WIDE);
  const [shown, setShown] = useState(0);
  const several = turn.columns.length > 1;
  return (
    <article class={`turn ${several ? "several" : ""}`} id={`turn-${turn.id}`}>
      <Question turn={turn} />
      {(turn.filter.source || turn.filter.media_type) && (
        <p class="quiet small">Only in {[turn.filter.source, turn.filter.media_type].filter(Boolean).join(", ")}</p>
      )}
      {several && !wide && (
        <div class="segments" role="group" aria-label="Which model's answer is shown">
          {turn.columns.map((column, index) => (
            <button key={index} type="button" aria-pressed={shown === index} onClick={() => setShown(index)}>
              {modelTitle(column.model)}
            </button>
          ))}
        </div>
      )}
      <div class="columns">
        {turn.columns.map((column, index) =>
          wide || shown === index ? (
            <div key={index} class="column" role="group" aria-label={`Answer of ${column.model}`}>
              {several && wide && <h3 class="column-title">{modelTitle(column.model)}</h3>}
              <ColumnView turn={turn} index={index} column={column} conversation={conversation} last={last} />
            </div>
          ) : null,
        )}
      </div>
    </article>
  );
}

function Question({ turn }: { turn: Turn }) {
  const [editing, setEditing] = useState(false);
  if (!editing)
    return (
      <div class="question">
        <h2>{turn.question}</h2>
        <Button icon="edit" look="quiet" label="Edit this question and ask again" class="edit-question" onClick={() => setEditing(true)} />
      </div>
    );
  return (
    <form
      class="editing"
      onSubmit={(event) => {
        event.preventDefault();
        const text = String(new FormData(event.currentTarget).get("question")).trim();
        if (text) resend(turn, text);
      }}
    >
      <label class="hidden" for={`edit-${turn.id}`}>Question</label>
      <textarea
        id={`edit-${turn.id}`}
        name="question"
        rows={2}
        defaultValue={turn.question}
        ref={(node) => node?.focus()}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            setEditing(false);
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            event.currentTarget.form?.requestSubmit();
          }
        }}
      />
      <div class="row">
        <span class="quiet small">What follows this question is asked anew.</span>
        <Button onClick={() => setEditing(false)}>Cancel</Button>
        <Button look="main" type="submit">Ask again</Button>
      </div>
    </form>
  );
}

function ColumnView({ turn, index, column, conversation, last }: { turn: Turn; index: number; column: Column; conversation: string; last: boolean }) {
  const { answer } = column;
  const quoted = new Set(answer?.citations.map((citation) => citation.number));
  return (
    <>
      {column.state === "finding" ? (
        <p class="stage"><span class="dot" /> Looking through the documents…</p>
      ) : (
        <Sources passages={column.passages} quoted={quoted} />
      )}
      {working(column) && column.state === "reading" && <Writing column={column} />}
      {column.state === "stopped" && <StoppedText column={column} />}
      {column.state === "failed" && <Notice kind="error">{column.error}</Notice>}
      {answer && column.state === "done" && <Answered answer={answer} column={column} />}
      {!working(column) && (
        <footer class="actions">
          {answer && <Copy answer={answer} />}
          {(last || column.state !== "done") && <Button icon="again" look="quiet" label="Answer again" onClick={() => regenerate(turn, index)} />}
          {answer?.trace && <Feedback turn={turn} index={index} column={column} conversation={conversation} />}
          {answer && (
            <span class="quiet facts">
              {answer.model} · {duration(answer.seconds.total)} · {answer.usage.completion_tokens} tokens
            </span>
          )}
        </footer>
      )}
    </>
  );
}

function Sources({ passages, quoted }: { passages: Passage[]; quoted: Set<number> }) {
  if (!passages.length) return null;
  return (
    <ul class="sources" aria-label="Passages found">
      {passages.map((passage) => (
        <li key={passage.number}>
          <button type="button" class={quoted.has(passage.number) ? "quoted" : ""} onClick={() => openPassage(passage)} title={[passage.title, ...place(passage)].join(" › ")}>
            <span class="number">{passage.number}</span>
            <span class="name">{passage.title}</span>
            {passage.page !== null && <span class="quiet">p. {passage.page}</span>}
            {quoted.has(passage.number) && <span class="hidden">, quoted</span>}
          </button>
        </li>
      ))}
    </ul>
  );
}

function Writing({ column }: { column: Column }) {
  const partial = takeApart(column.raw);
  return (
    <>
      {partial.answer ? (
        <div class={`answer writing ${size(partial.answer)}`}>
          <Markdown text={partial.answer} whole={false} />
        </div>
      ) : (
        <p class="stage"><span class="dot" /> {partial.quotes.length ? "Quoting what answers it…" : `Reading ${column.passages.length} passages…`}</p>
      )}
      {partial.quotes.map((quote, number) => (
        <blockquote key={number} class="quote drafted">{quote}</blockquote>
      ))}
    </>
  );
}

function StoppedText({ column }: { column: Column }) {
  const partial = takeApart(column.raw);
  return (
    <>
      {partial.answer && <div class={`answer ${size(partial.answer)}`}><Markdown text={partial.answer} whole /></div>}
      {partial.quotes.map((quote, number) => <blockquote key={number} class="quote drafted">{quote}</blockquote>)}
      <p class="quiet small">Stopped before the answer was whole. Its quotes were not checked.</p>
    </>
  );
}

const size = (text: string): string => (text.length <= 60 && !/[\n|`$]/.test(text) ? "short" : "");

function Answered({ answer, column }: { answer: Answer; column: Column }) {
  if (answer.abstained || answer.withheld) return <NotAnswered answer={answer} />;
  const found = answer.citations.some((citation) => citation.found);
  const quoted = answer.citations.some((citation) => !citation.found) || answer.unsupported.length > 0;
  return (
    <>
      <div class={`answer ${size(answer.answer)}`}>
        <Markdown text={answer.answer || answer.markdown} whole />
        {answer.citations.length > 0 && (
          <span class="refs">
            {answer.citations.map((citation, number) => (
              <button key={number} type="button" onClick={() => openCitation(citation, answer)} aria-label={`${citation.found ? "Sentence" : "Quote"} ${citation.number}: ${citation.title}`}>
                {citation.number}
              </button>
            ))}
          </span>
        )}
      </div>
      {answer.confidence !== null && <Confidence value={answer.confidence} />}
      {answer.citations.length > 0 && (
        <ul class="citations" aria-label={found && !quoted ? "Where the words of the answer stand" : "Quotes that the answer rests on"}>
          {answer.citations.map((citation, number) => (
            <li key={number}>
              <button type="button" class="citation" onClick={() => openCitation(citation, answer)}>
                <span class="number">{citation.number}</span>
                <q>{citation.quote}</q>
                <span class="from">
                  {citation.title}
                  {citation.page !== null && ` · page ${citation.page}`}
                  <Icon name="right" />
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {answer.unsupported.length > 0 && (
        <Notice kind="warning">
          <strong>{answer.unsupported.length === 1 ? "A quote was found in no passage." : "Some quotes were found in no passage."}</strong> Do not rely on it:
          {answer.unsupported.map((quote, number) => <del key={number}>{quote}</del>)}
        </Notice>
      )}
      {found && <p class="quiet small">{quoted ? "What the model quotes does not hold its answer: the last sentence was found by the words of that." : "The model quotes nothing: this sentence was found by the words of its answer."}</p>}
      {!answer.citations.length && !answer.unsupported.length && <p class="quiet small">The answer quotes none of the passages: check them before you rely on it.</p>}
      {column.passages.length === 0 && <p class="quiet small">Nothing was found in the documents.</p>}
    </>
  );
}

function NotAnswered({ answer }: { answer: Answer }) {
  const nearest = answer.passages.slice(0, 3);
  return (
    <>
      <p class="answer none">
        {answer.withheld ? "No answer is given: what was found hardly holds one." : answer.passages.length ? "The documents do not answer this." : "Nothing was found in the documents."}
      </p>
      {answer.confidence !== null && <Confidence value={answer.confidence} />}
      {nearest.length > 0 && (
        <div class="nearest">
          <h3>What comes nearest</h3>
          {nearest.map((passage) => (
            <details key={passage.number}>
              <summary><span class="number">{passage.number}</span> {passage.title}{place(passage).map((heading) => <span key={heading} class="quiet"> › {heading}</span>)}</summary>
              <div class="passage document-text"><Lines text={passage.text.trim()} inline={[]} blocks={[]} /></div>
              <Button look="quiet" icon="open" onClick={() => openPassage(passage)}>Open the document</Button>
            </details>
          ))}
        </div>
      )}
    </>
  );
}

export function Confidence({ value }: { value: number }) {
  const words = likelihood(value);
  return (
    <p class="confidence">
      <span class="meter" role="meter" aria-label="Confidence" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(value * 100)} aria-valuetext={`${percent(value)}, ${words}`}>
        <span style={{ width: `${Math.max(4, value * 100)}%` }} class={value < 0.35 ? "low" : ""} />
      </span>
      <span>{percent(value)}</span>
      <span class="quiet">{words}</span>
    </p>
  );
}

function Copy({ answer }: { answer: Answer }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null; // as over plain HTTP, other than on this machine
  const copy = async () => {
    await navigator.clipboard.writeText(answer.markdown || answer.answer);
    setDone(true);
    setTimeout(() => setDone(false), 1600);
  };
  return <Button icon={done ? "check" : "copy"} look="quiet" label={done ? "Copied" : "Copy the answer"} onClick={() => void copy()} />;
}

