/** What was asked and answered, one by one. */
import { useState } from "preact/hooks";
import { api, type Trace } from "../api";
import { Lines } from "../lines";
import { openSource } from "../source";
import { Confidence } from "../ask/turn";
import { link, may } from "../state";
import { dollars, duration, percent, plural, when } from "../text";
import { Button, Confirm, Empty, Notice, Pager, Search, Select, Shown, useLoad } from "../ui";

const LIMIT = 25;
/** In words for who was not there. */
const failure = (error: string): string => (error === "the client left" ? "stopped by the asker" : error);

const RATINGS = [["", "any rating"], ["down", "thumbs down"], ["up", "thumbs up"]] as const;

export function Traces() {
  const [query, setQuery] = useState("");
  const [rating, setRating] = useState("");
  const [offset, setOffset] = useState(0);
  const loaded = useLoad(() => api.traces({ query, rating, offset, limit: LIMIT }), [query, rating, offset]);
  const choose = (set: (value: string) => void) => (value: string) => (set(value), setOffset(0));
  return (
    <>
      <div class="row list-head">
        <Search label="Search questions and answers" value={query} change={choose(setQuery)} />
        <Select label="Rating" shown={false} value={rating} options={RATINGS} change={choose(setRating)} />
      </div>
      <Shown loaded={loaded} what="the traces" lines={8}>
        {({ traces, total }) =>
          total === 0 ? (
            <Empty icon="monitor" title={query || rating ? "No trace is like that" : "No traces yet"}>{!query && !rating && <p>Each question and its answer is kept here, for as long as <code>traces.days</code> says.</p>}</Empty>
          ) : (
            <>
              <p class="quiet small" role="status">{plural(total, "trace")}</p>
              <ul class="traces">
                {traces.map((trace) => (
                  <li key={trace.id}>
                    <a href={link("monitor", "traces", trace.id)}>
                      <span class="title">{trace.question}</span>
                      <span class="answered">{trace.error ? <em class="quiet">{failure(trace.error)}</em> : trace.abstained || trace.withheld ? <em class="quiet">{trace.withheld ? "withheld" : "not answered"}</em> : trace.answer}</span>
                      <span class="quiet small facts">
                        <span>{when(trace.at)}</span>
                        <span>{trace.model}</span>
                        <span>{duration(trace.seconds)}</span>
                        {trace.key && <span>{trace.key}</span>}
                        {trace.groundedness !== null && <span>{percent(trace.groundedness)} grounded</span>}
                        {trace.rating && <span class={`tag ${trace.rating}`}>{trace.rating === "up" ? "thumbs up" : "thumbs down"}</span>}
                      </span>
                    </a>
                  </li>
                ))}
              </ul>
              <Pager offset={offset} limit={LIMIT} total={total} move={setOffset} />
            </>
          )
        }
      </Shown>
    </>
  );
}

export function TraceView({ id }: { id: string }) {
  const loaded = useLoad(() => api.trace(id), [id]);
  const [deleting, setDeleting] = useState(false);
  return (
    <>
      <p class="back"><a href={link("monitor", "traces")}>Traces</a></p>
      <Shown loaded={loaded} what="the trace" lines={8}>
        {(trace) => (
          <article class="trace">
            <header class="page-head">
              <h2>{trace.question}</h2>
              {may("write") && <Button icon="trash" look="danger" onClick={() => setDeleting(true)}>Delete</Button>}
            </header>
            <Detail trace={trace} />
            {deleting && (
              <Confirm title="Delete this trace?" action="Delete" close={() => setDeleting(false)} act={() => api.deleteTrace(id).then(() => (location.hash = link("monitor", "traces")))}>
                The question, the answer and the feedback on it go.
              </Confirm>
            )}
          </article>
        )}
      </Shown>
    </>
  );
}

function Detail({ trace }: { trace: Trace }) {
  const facts: [string, string][] = [
    ["Asked", when(trace.at)], ["Model", trace.model], ["Key", trace.key || "–"],
    ["Took", duration(typeof trace.seconds === "number" ? trace.seconds : (trace.seconds as { total?: number } | null)?.total)],
    ["Tokens", trace.usage ? `${trace.usage.prompt_tokens} read, ${trace.usage.completion_tokens} written` : "–"], ["Cost", dollars(trace.cost)],
    ["Grounded", trace.groundedness === null ? "not checked" : percent(trace.groundedness)],
  ];
  return (
    <>
      {trace.error && <Notice kind="warning">No whole answer: {failure(trace.error)}.</Notice>}
      {(trace.answer || !trace.error) && <p class="answer">{trace.abstained || trace.withheld ? <em>{trace.withheld ? "Withheld" : "Not answered"}</em> : trace.answer}</p>}
      {trace.confidence !== null && <Confidence value={trace.confidence} />}
      {trace.feedback.rating && (
        <Notice>
          Thumbs {trace.feedback.rating}{trace.feedback.reason && `: ${trace.feedback.reason}`}
          {trace.feedback.correction && <> · should be <strong>{trace.feedback.correction}</strong></>}
        </Notice>
      )}
      <dl class="pairs">{facts.map(([name, value]) => <><dt>{name}</dt><dd>{value}</dd></>)}</dl>
      <h3>Passages shown</h3>
      <ol class="shown-passages">
        {trace.passages.map((passage) => (
          <li key={passage.number}>
            <details>
              <summary><span class="number">{passage.number}</span> {passage.title} {passage.score !== null && <span class="quiet small">score {passage.score.toFixed(2)}</span>}</summary>
              <div class="passage document-text"><Lines text={passage.text.trim()} inline={[]} blocks={[]} /></div>
              <Button look="quiet" icon="open" onClick={() => openSource({ document: passage.document, title: passage.title, chunk: passage, quotes: trace.citations.filter((each) => each.document === passage.document) })}>Open the document</Button>
            </details>
          </li>
        ))}
      </ol>
      <details class="reasons"><summary>What the model wrote</summary><pre class="log" tabIndex={0}>{trace.raw}</pre></details>
    </>
  );
}
