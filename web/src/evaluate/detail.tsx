/** One evaluation: the decision, the grid of models and contexts, and every question. */
import { useState } from "preact/hooks";
import { api, storedKey, type Estimate, type Report } from "../api";
import { link } from "../state";
import { figure, percent, signed } from "../text";
import { Button, Notice, said, Select, Shown, useLoad } from "../ui";
import { Interval, span } from "./interval";
import { Questions } from "./questions";

export const ARMS: Record<string, string> = { base: "base", "base-fewshot": "base, two examples", tuned: "tuned", dsf: "tuned without distractors" };
export const armTitle = (arm: string): string => ARMS[arm] ?? arm;
export const CONTEXTS: Record<string, string> = {
  "closed-book": "closed book: no passages",
  oracle: "the right passage alone",
  "oracle+distractors": "the right passage among others",
  retrieved: "what retrieval found",
};
const METRICS: Record<string, string> = { f1: "F1", exact_match: "exact match", containment: "containment", rouge_l: "ROUGE-L", quote_precision: "quotes that are real", abstained: "abstained" };
const STRATA: Record<string, string> = { all: "all questions", new_questions: "new questions on seen documents", new_documents: "questions on unseen documents" };
const worded = (name: string): string => name.replaceAll("_", " ");

export function Detail({ name }: { name: string }) {
  const loaded = useLoad(() => api.evaluation(name), [name]);
  return (
    <div class="page">
      <p class="back"><a href={link("evaluate")}>Evaluations</a></p>
      <Shown loaded={loaded} what="the evaluation" lines={10}>
        {({ report }) => (
          <>
            <Decision report={report} name={name} />
            <Grid report={report} />
            {report.retrieval && report.retrieval.length > 0 && <Retrieval report={report} />}
            <Questions name={name} arms={armsOf(report)} contexts={contextsOf(report)} />
          </>
        )}
      </Shown>
    </div>
  );
}

const armsOf = (report: Report): string[] => [...new Set(report.grid.map((row) => row.arm))];
const contextsOf = (report: Report): string[] => [...new Set(report.grid.map((row) => row.context))];

function Decision({ report, name }: { report: Report; name: string }) {
  const difference = report.named?.difference;
  const [low, high] = span([difference]);
  const [error, setError] = useState("");
  const [head, ...rest] = report.sentence.split(/(?<=better|worse|undecided|apart)[:,]\s/);
  return (
    <header class={`decided ${report.decision}`}>
      <span class={`verdict ${report.decision}`}>{report.decision}</span>
      <h1>{head}{rest.length ? "." : ""}</h1>
      {rest.length > 0 && <p class="lead">{rest.join(", ")}</p>}
      {difference && difference.value !== null && difference.low !== null && difference.high !== null && (
        <figure class="difference">
          <Interval estimate={difference} low={low} high={high} zero arm={report.decision === "undecided" ? "base" : "tuned"} label={`Difference in F1 ${signed(difference.value)}, 95 % interval from ${signed(difference.low)} to ${signed(difference.high)}`} />
          <figcaption class="quiet small">
            <span>worse</span><span>no difference</span><span>better</span>
          </figcaption>
        </figure>
      )}
      {storedKey() ? (
        // A link cannot carry the key, so the page is fetched and saved.
        <Button icon="download" onClick={() => void save(name).catch((failed: unknown) => setError(said(failed)))}>Save the full report</Button>
      ) : (
        <a class="button plain" href={api.reportAddress(name)} target="_blank" rel="noopener">The full report</a>
      )}
      {error && <Notice kind="error">{error}</Notice>}
      {report.notes && report.notes.length > 0 && (
        <details class="reasons">
          <summary>What to know before these figures are trusted <span class="count">{report.notes.length}</span></summary>
          <ul class="known">{report.notes.map((note) => <li key={note}>{note}</li>)}</ul>
        </details>
      )}
    </header>
  );
}

async function save(name: string): Promise<void> {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(await api.reportPage(name));
  anchor.download = `${name}.html`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

function Grid({ report }: { report: Report }) {
  const metrics = [...new Set(report.grid.flatMap((row) => Object.keys(row.metrics)))];
  const strata = [...new Set(report.grid.map((row) => row.stratum))];
  const [metric, setMetric] = useState(metrics.includes("f1") ? "f1" : metrics[0]!);
  const [stratum, setStratum] = useState(strata.includes("all") ? "all" : strata[0]!);
  const rows = report.grid.filter((row) => row.stratum === stratum && row.metrics[metric]);
  const ends = rows.map((row) => row.metrics[metric]!);
  const top = ends.every((each) => (each.high ?? each.value ?? 0) <= 1) ? 1 : span(ends)[1];
  return (
    <section>
      <div class="section-head">
        <h2>Answers</h2>
        <Select label="Metric" shown={false} value={metric} options={metrics.map((each) => [each, METRICS[each] ?? worded(each)] as const)} change={setMetric} />
        {strata.length > 1 && <Select label="Questions" shown={false} value={stratum} options={strata.map((each) => [each, STRATA[each] ?? worded(each)] as const)} change={setStratum} />}
      </div>
      <p class="quiet small">{METRICS[metric] ?? worded(metric)} of each model in each context, with 95 % intervals over whole groups of documents.</p>
      <table class="forest">
        <thead class="hidden"><tr><th>Model</th><th>Plot</th><th>{METRICS[metric] ?? metric}</th><th>Questions</th></tr></thead>
        {contextsOf(report).map((context) => {
          const here = rows.filter((row) => row.context === context);
          return here.length ? (
            <tbody key={context}>
              <tr><th colSpan={4} scope="rowgroup">{CONTEXTS[context] ?? context}</th></tr>
              {here.map((row) => {
                const estimate = row.metrics[metric]!;
                return (
                  <tr key={row.arm}>
                    <th scope="row" class={`arm arm-${row.arm}`} title={report.models[row.arm]}>{armTitle(row.arm)}</th>
                    <td class="plots"><Interval estimate={estimate} low={0} high={top} arm={row.arm} label={inWords(estimate)} /></td>
                    <td class="figure"><b>{figure(estimate.value)}</b> <span class="quiet">[{figure(estimate.low)}, {figure(estimate.high)}]</span></td>
                    <td class="figure quiet n">n {estimate.n ?? row.questions}</td>
                  </tr>
                );
              })}
            </tbody>
          ) : null;
        })}
      </table>
    </section>
  );
}

const inWords = (estimate: Estimate): string => `${figure(estimate.value)}, from ${figure(estimate.low)} to ${figure(estimate.high)}`;

function Retrieval({ report }: { report: Report }) {
  const all = report.retrieval!.find((row) => row.stratum === "all") ?? report.retrieval![0]!;
  return (
    <section>
      <h2>Retrieval</h2>
      <p class="quiet small">How often the passage that holds the answer is among those found.</p>
      <ul class="tiles">
        {Object.entries(all.metrics).map(([metric, estimate]) => (
          <li key={metric}>
            <span class="quiet small">{metric}</span>
            <b>{estimate.value === null ? "–" : metric.startsWith("recall") ? percent(estimate.value) : figure(estimate.value)}</b>
            <span class="quiet small">[{figure(estimate.low)}, {figure(estimate.high)}]</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
