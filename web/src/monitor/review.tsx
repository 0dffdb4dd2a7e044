/** The review queue: a person says what the right answer is and where it stands, or that the documents do not say. */
import { useState } from "preact/hooks";
import { api, type ReviewItem, type Span } from "../api";
import { announced, link, may } from "../state";
import { plural, UNANSWERED, when } from "../text";
import { Button, Empty, Notice, said, Select, Shown, useLoad } from "../ui";
import { Evidence } from "./evidence";

/** What the server puts in place of what it redacted. */
const BLANK = "▮▮▮";
const NOT_KEPT = "A question that was not kept";
const STATES = [["open", "open"], ["accepted", "accepted"], ["dismissed", "dismissed"]] as const;

export function Review({ chosen }: { chosen: string | null }) {
  const [state, setState] = useState<string>("open");
  const [warnings, setWarnings] = useState<string[]>([]);
  const loaded = useLoad(() => api.review({ state, limit: 200 }), [state]);
  return (
    <>
      <div class="row list-head">
        <Select label="Show" value={state} options={STATES} change={setState} />
      </div>
      {warnings.map((each) => <Notice key={each} kind="warning">{each}</Notice>)}
      <Shown loaded={loaded} what="the review queue">
        {({ items, total }) => {
          if (!items.length)
            return (
              <Empty icon="check" title={state === "open" ? "Nothing to review" : "None yet"}>
                <p>Answers that were rated down, that their quotes do not support, or that were not given wait here for a person.</p>
              </Empty>
            );
          const item = items.find((each) => each.id === chosen) ?? items[0]!;
          const next = items[items.indexOf(item) + 1] ?? items[0]!;
          return (
            <div class="review">
              <nav aria-label="Queue">
                <p class="quiet small">{plural(total, "answer")}</p>
                <ul>
                  {items.map((each) => (
                    <li key={each.id}>
                      <a href={link("monitor", "review", each.id)} aria-current={each === item ? "true" : undefined}>
                        {each.question || NOT_KEPT}
                        <span class="quiet small">{each.why.join(", ")}</span>
                      </a>
                    </li>
                  ))}
                </ul>
              </nav>
              <Item
                key={item.id}
                item={item}
                done={(told) => {
                  setWarnings(told);
                  if (next !== item) location.hash = link("monitor", "review", next.id);
                  loaded.reload();
                }}
              />
            </div>
          );
        }}
      </Shown>
    </>
  );
}

function Item({ item, done }: { item: ReviewItem; done: (warnings: string[]) => void }) {
  const [question, setQuestion] = useState(item.question);
  const [answers, setAnswers] = useState(item.correction ?? "");
  const [none, setNone] = useState((item.reason ?? "").includes(UNANSWERED));
  const [evidence, setEvidence] = useState<(Span & { text: string })[]>([]);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const right = answers.split("\n").map((each) => each.trim()).filter(Boolean);
  const asked = question.trim();
  const next =
    !asked ? "Write the question: it was not kept."
    : asked.includes(BLANK) ? "A part of the question was redacted: write it in other words."
    : none || (right.length && evidence.length) ? "" : right.length ? "Mark the words that say so." : "Write the answer, and mark the words that say so.";
  const decide = async (decision: "accept" | "dismiss") => {
    setBusy(true);
    try {
      const spans = none ? [] : evidence.map(({ document, start, end }) => ({ document, start, end }));
      const accepted = { answers: none ? [] : right, evidence: spans, ...(asked === item.question.trim() ? {} : { question: asked }) };
      const { warnings } = await api.decide(item.id, { decision, ...(decision === "accept" ? accepted : { answers: [], evidence: [] }) });
      announced.value = [decision === "accept" ? "Accepted." : "Dismissed.", ...warnings].join(" ");
      done(warnings);
    } catch (failed) {
      setError(said(failed));
      setBusy(false);
    }
  };
  return (
    <article class="review-item">
      {item.history.length > 0 && (
        <ol class="before" aria-label="What was said before">
          {item.history.map((turn, index) => <li key={index}><span class="quiet">{turn.role === "user" ? "Asked:" : "Answered:"}</span> {turn.content}</li>)}
        </ol>
      )}
      <h2>{item.question || NOT_KEPT}</h2>
      <p class="row">{item.why.map((why) => <span key={why} class="tag">{why}</span>)}<span class="quiet small">{when(item.at)}</span></p>
      <p class="said"><span class="quiet">It answered:</span> {item.answer || <em>nothing</em>}</p>
      {item.reason && <p class="quiet">“{item.reason}”</p>}
      {item.state !== "open" && <Notice>{item.state === "accepted" ? "Accepted" : "Dismissed"}{item.by && ` by ${item.by}`}{item.decided && `, ${when(item.decided)}`}.</Notice>}
      {item.state === "open" && may("write") && (
        <>
          <label class="field stacked">
            <span>The question <span class="quiet">(as it is to be learnt)</span></span>
            <textarea rows={2} value={question} onInput={(event) => setQuestion(event.currentTarget.value)} />
          </label>
          <label class="field stacked">
            <span>The right answer <span class="quiet">(other wordings on lines of their own)</span></span>
            <textarea rows={2} value={answers} disabled={none} onInput={(event) => setAnswers(event.currentTarget.value)} />
          </label>
          <label class="chip"><input type="checkbox" checked={none} onChange={(event) => setNone(event.currentTarget.checked)} /> {UNANSWERED}</label>
          {!none && <Evidence passages={item.passages} evidence={evidence} change={setEvidence} />}
          {error && <Notice kind="error">{error}</Notice>}
          <div class="row decide">
            <Button look="main" icon="check" disabled={next !== "" || busy} onClick={() => void decide("accept")}>Accept</Button>
            <Button disabled={busy} onClick={() => void decide("dismiss")}>Dismiss</Button>
            <span class="quiet small">{next || "Accepted answers become training questions."}</span>
          </div>
        </>
      )}
    </article>
  );
}
