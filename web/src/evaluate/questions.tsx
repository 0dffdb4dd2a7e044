/** Every question of an evaluation: what each model answered, from which passages, quoting what. */
import { useMemo, useState } from "preact/hooks";
import { api, type EvaluatedQuestion, type Prediction, type QuestionPage } from "../api";
import { Lines } from "../lines";
import { openSource } from "../source";
import { figure, offsets, plural, type Mark } from "../text";
import { Button, Pager, Search, Select, Shown, useLoad } from "../ui";
import { armTitle, CONTEXTS } from "./detail";

const LIMIT = 20;
const OUTCOMES = [["", "any outcome"], ["won", "better"], ["lost", "worse"], ["both right", "both right"], ["both wrong", "both wrong"], ["they differ", "they differ"], ["all right", "all right"], ["all wrong", "all wrong"]] as const;

export function Questions({ name, arms, contexts }: { name: string; arms: string[]; contexts: string[] }) {
  const [context, setContext] = useState(contexts.includes("retrieved") ? "retrieved" : contexts[0]!);
  const [outcome, setOutcome] = useState("");
  const [kind, setKind] = useState("");
  const [query, setQuery] = useState("");
  const [offset, setOffset] = useState(0);
  const loaded = useLoad(() => api.questions(name, { context, outcome, kind, query, offset, limit: LIMIT }), [name, context, outcome, kind, query, offset]);
  const choose = (set: (value: string) => void) => (value: string) => (set(value), setOffset(0));
  const kinds = loaded.data?.kinds ?? [];
  const counts = loaded.data?.outcomes ?? {};
  const outcomes = OUTCOMES.filter(([value]) => !value || value === outcome || counts[value]).map(([value, words]) => [value, value ? `${words} (${counts[value] ?? 0})` : words] as const);
  return (
    <section>
      <h2>Questions</h2>
      <div class="row list-head">
        <Search label="Search the questions" value={query} change={choose(setQuery)} />
        <Select label="Outcome" shown={false} value={outcome} options={outcomes} change={choose(setOutcome)} />
        {kinds.length > 1 && <Select label="Kind" shown={false} value={kind} options={[["", "any kind"], ...kinds.map((each) => [each, each] as const)]} change={choose(setKind)} />}
        {contexts.length > 1 && <Select label="Context" shown={false} value={context} options={contexts.map((each) => [each, CONTEXTS[each] ?? each] as const)} change={choose(setContext)} />}
      </div>
      <Shown loaded={loaded} what="the questions" lines={6}>
        {(page) => (
          <>
            <p class="quiet small" role="status">{plural(page.total, "question")}</p>
            {page.questions.map((question) => (
              <Question key={question.id} question={question} page={page} arms={arms} context={context} />
            ))}
            <Pager offset={offset} limit={LIMIT} total={page.total} move={setOffset} />
          </>
        )}
      </Shown>
    </section>
  );
}

const RIGHT = 0.5;

const BADGES: Record<string, readonly [string, string]> = { won: ["won", "better"], lost: ["lost", "worse"], "both right": ["even", "both right"], "both wrong": ["even none", "both wrong"], "they differ": ["", "they differ"], "all right": ["even", "all right"], "all wrong": ["even none", "all wrong"] };

function badge(question: EvaluatedQuestion, context: string): readonly [string, string] {
  if (question.outcome !== undefined) return BADGES[question.outcome ?? ""] ?? ["", "not compared"];
  const tuned = question.arms["tuned"]?.[context]?.f1;
  const base = question.arms["base"]?.[context]?.f1;
  if (tuned === null || tuned === undefined || base === null || base === undefined) return ["", "asked"];
  if (Math.abs(tuned - base) > 0.1) return tuned > base ? ["won", "better"] : ["lost", "worse"];
  return tuned > RIGHT ? ["even", "both right"] : ["even none", "both wrong"];
}

function Question({ question, page, arms, context }: { question: EvaluatedQuestion; page: QuestionPage; arms: string[]; context: string }) {
  const [open, setOpen] = useState(false);
  const [kind, words] = badge(question, context);
  const answers = arms.flatMap((arm) => (question.arms[arm]?.[context] ? [[arm, question.arms[arm]![context]!] as const] : []));
  const shown = answers.find(([arm]) => arm === "tuned")?.[1] ?? answers[0]?.[1];
  return (
    <details class="asked" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class={`badge ${kind}`}>{words}</span>
        <span class="text">{question.question}</span>
      </summary>
      {open && (
        <div class="detail">
          <p class="quiet small">
            {question.references.length ? <>Right: <strong>{question.references.join(" · ")}</strong></> : "The documents do not answer this."}
            {question.rank !== null ? ` · the passage that holds it was found at rank ${question.rank}` : question.references.length ? " · retrieval did not find it" : ""}
          </p>
          <div class="answers">
            {answers.map(([arm, prediction]) => (
              <Answered key={arm} arm={arm} prediction={prediction} />
            ))}
          </div>
          {shown && shown.passages.length > 0 && <Passages prediction={shown} page={page} />}
        </div>
      )}
    </details>
  );
}

function Answered({ arm, prediction }: { arm: string; prediction: Prediction }) {
  const bad = prediction.quotes.filter((quote) => !quote.valid);
  const real = prediction.quotes.filter((quote) => quote.valid && !quote.found);
  const found = prediction.quotes.some((quote) => quote.found);
  return (
    <section class="card">
      <h3 class={`arm arm-${arm}`}>{armTitle(arm)}</h3>
      <p class="said">{prediction.abstained ? <em>Says that the passages do not answer this.</em> : prediction.answer || prediction.raw}</p>
      {bad.map((quote) => <p key={quote.text} class="small"><del>{quote.text}</del> <span class="bad">in no passage</span></p>)}
      <p class="quiet small">
        F1 {figure(prediction.f1)} · {prediction.exact ? "exact" : "not exact"} · {found && !real.length ? "quotes nothing, its sentence was found" : plural(real.length, "real quote") + (found ? ", its words were found elsewhere" : "")}
      </p>
    </section>
  );
}

function Passages({ prediction, page }: { prediction: Prediction; page: QuestionPage }) {
  return (
    <ol class="shown-passages">
      {prediction.passages.flatMap((id, index) => {
        const passage = page.passages[id];
        if (!passage) return [];
        const quotes = prediction.quotes.filter((quote) => quote.valid && quote.document === passage.document && quote.start !== null && quote.end !== null);
        const chunk = { start: passage.start, end: passage.start + [...passage.text].length };
        return [
          <li key={id}>
            <details open={quotes.length > 0 || index === 0}>
              <summary><span class="number">{index + 1}</span> {passage.title} <span class="quiet small">{passage.document}</span></summary>
              <Quoted passage={passage} quotes={quotes} />
              <Button look="quiet" icon="open" onClick={() => openSource({ document: passage.document, title: passage.title, chunk, quotes: quotes.map((quote) => ({ start: quote.start!, end: quote.end! })) })}>
                Open the document
              </Button>
            </details>
          </li>,
        ];
      })}
    </ol>
  );
}

function Quoted({ passage, quotes }: { passage: QuestionPage["passages"][string]; quotes: Prediction["quotes"] }) {
  const marks = useMemo(() => {
    const { units } = offsets(passage.text);
    return quotes.map((quote): Mark => ({ start: units(quote.start! - passage.start), end: units(quote.end! - passage.start), kind: "quoted" }));
  }, [passage, quotes]);
  return <div class="passage document-text"><Lines text={passage.text.trimEnd()} inline={marks} blocks={NONE} /></div>;
}

const NONE: Mark[] = [];
