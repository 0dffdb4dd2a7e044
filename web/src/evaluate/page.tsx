/** Evaluate: does the tuned model answer better, by how much, and on which questions. */
import { api, type EvaluationRow } from "../api";
import { link, may, route } from "../state";
import { date, signed } from "../text";
import { Empty, Shown, useLoad } from "../ui";
import { Detail } from "./detail";
import { Interval, span } from "./interval";

export default function EvaluatePage() {
  const name = route.value[1];
  return name ? <Detail key={name} name={name} /> : <List />;
}

function List() {
  const loaded = useLoad(api.evaluations);
  return (
    <div class="page">
      <header class="page-head"><h1>Evaluations</h1></header>
      <Shown loaded={loaded} what="the evaluations">
        {({ evaluations }) =>
          evaluations.length === 0 ? (
            <Empty icon="evaluate" title="Nothing is evaluated yet">
              <p>An evaluation asks held-out questions of the base model and of the tuned one, and says whether tuning helped. {may("write") && <a href={link("runs")}>Start a run</a>}</p>
            </Empty>
          ) : (
            <Rows rows={evaluations} />
          )
        }
      </Shown>
    </div>
  );
}

const inWords = (effect: { value: number; low: number | null; high: number | null }): string =>
  effect.low === null || effect.high === null ? signed(effect.value) : `${signed(effect.value)} [${signed(effect.low)}, ${signed(effect.high)}]`;

export const VERDICTS = { better: "better", worse: "worse", undecided: "undecided" } as const;

function Rows({ rows }: { rows: EvaluationRow[] }) {
  const [low, high] = span(rows.map((row) => row.effect));
  return (
    <ul class="evaluations">
      {rows.map((row) => (
        <li key={row.name}>
          <a href={link("evaluate", row.name)}>
            <span class={`verdict ${row.verdict}`}>{VERDICTS[row.verdict] ?? row.verdict}</span>
            <span class="decision">{row.decision}</span>
            <span class="quiet small facts">
              <span>{row.model}</span><span>{row.split}</span><span>{row.questions} questions</span><span>{date(row.created)}</span>
            </span>
          </a>
          {row.effect && (
            <div class="effect">
              <Interval estimate={row.effect} low={low} high={high} zero arm={row.verdict === "undecided" ? "base" : "tuned"} label={`Difference ${inWords(row.effect)}`} />
              <span class="small">{inWords(row.effect)}</span>
            </div>
          )}
        </li>
      ))}
    </ul>
  );
}
