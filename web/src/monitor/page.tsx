/** Monitor: traffic and how good it is over time, whether questions drift, every trace, and the review queue. */
import { useMemo, useState } from "preact/hooks";
import { api, type Drift, type Hour, type Monitor } from "../api";
import { Chart } from "../chart";
import { link, may, route } from "../state";
import { count, dollars, duration, percent, plural } from "../text";
import { Empty, Select, Shown, Tabs, useLoad } from "../ui";
import { Review } from "./review";
import { Traces, TraceView } from "./traces";

export default function MonitorPage() {
  const [, what, name] = route.value;
  const tab = what === "traces" || what === "review" ? what : "overview";
  const open = useLoad(() => api.review({ state: "open", limit: 1 }).then((page) => page.open), [what]);
  const tabs = [
    { name: "overview", href: link("monitor"), text: "Overview" },
    { name: "traces", href: link("monitor", "traces"), text: "Traces" },
    ...(may("read") ? [{ name: "review", href: link("monitor", "review"), text: "Review", count: open.data ?? 0 }] : []),
  ];
  return (
    <div class="page wide">
      <header class="page-head"><h1>Monitor</h1></header>
      <Tabs label="Parts of monitoring" tabs={tabs} current={tab} />
      {tab === "overview" ? <Overview /> : tab === "review" ? <Review chosen={name ?? null} /> : name ? <TraceView key={name} id={name} /> : <Traces />}
    </div>
  );
}

const DAYS = [["1", "last day"], ["7", "last 7 days"], ["30", "last 30 days"], ["90", "last 90 days"]] as const;

function Overview() {
  const [days, setDays] = useState("7");
  const loaded = useLoad(() => api.monitor(Number(days)), [days]);
  return (
    <>
      <div class="row list-head"><Select label="Time" shown={false} value={days} options={DAYS} change={setDays} /></div>
      <Shown loaded={loaded} what="the figures" lines={6}>
        {(monitor) =>
          (monitor.totals.answers ?? 0) === 0 ? (
            <Empty icon="monitor" title="Nobody has asked anything in this time">
              <p>As soon as questions are answered, their number, speed, cost and quality stand here. <a href={link("ask")}>Ask one</a>.</p>
            </Empty>
          ) : (
            <>
              <Tiles monitor={monitor} />
              {monitor.review_open > 0 && <p><a href={link("monitor", "review")}>{plural(monitor.review_open, "answer waits", "answers wait")} for a person to look at</a></p>}
              <Drifts drift={monitor.drift} />
              <Charts told={monitor.hours} days={Number(days)} />
            </>
          )
        }
      </Shown>
    </>
  );
}

function Tiles({ monitor: { totals } }: { monitor: Monitor }) {
  const answers = totals.answers ?? 0;
  const rated = (totals.up ?? 0) + (totals.down ?? 0);
  const share = (part: number | undefined) => (answers ? percent((part ?? 0) / answers) : "–");
  const tiles: [string, string, string][] = [
    ["Answers", count(answers), `${count(totals.errors ?? 0)} errors`],
    ["Not answered", share(totals.abstained), "of all questions"],
    ["Median time", duration(totals.seconds_p50), `95 % within ${duration(totals.seconds_p95)}`],
    ["Grounded", totals.groundedness == null ? "–" : percent(totals.groundedness), "of what was checked"],
    ["Thumbs up", rated ? percent((totals.up ?? 0) / rated) : "–", `of ${count(rated)} rated`],
    ["Tokens", count(totals.tokens ?? 0), dollars(totals.cost)],
  ];
  return (
    <ul class="tiles">
      {tiles.map(([name, value, note]) => (
        <li key={name}>
          <span class="quiet small">{name}</span>
          <b>{value}</b>
          <span class="quiet small">{note}</span>
        </li>
      ))}
    </ul>
  );
}

const SUBJECTS: Record<string, string> = { questions: "What is asked", lengths: "How long questions are", scores: "How well retrieval finds" };
const VERDICTS: Record<string, string> = {
  stable: "As in the evaluation.",
  "some change": "Somewhat unlike the evaluation.",
  changed: "Unlike the evaluation: its figures may not hold for what is asked now.",
  "too few questions": "Too few questions yet to tell.",
  "no baseline": "No evaluation to compare with yet.",
};

function Drifts({ drift }: { drift: Record<string, Drift | null> }) {
  const rows = Object.entries(drift).filter((pair): pair is [string, Drift] => pair[1] !== null);
  if (!rows.length) return null;
  const digits = (value: number | null) => (value === null ? "–" : value.toPrecision(2));
  return (
    <section class="drift" aria-label="Drift">
      {rows.map(([name, each]) => (
        <div key={name} class={`card ${each.verdict === "changed" ? "moved" : ""}`}>
          <h2>{SUBJECTS[name] ?? name}</h2>
          <p>{VERDICTS[each.verdict] ?? each.verdict}</p>
          <p class="quiet small">{each.psi !== null && `PSI ${digits(each.psi)} · KS ${digits(each.ks)}, p ${digits(each.p)} · `}{plural(each.n, "question")} now, {typeof each.baseline === "number" ? count(each.baseline) : (each.baseline ?? "none")} then</p>
        </div>
      ))}
    </section>
  );
}

/** Every hour of the time until now. The server tells of those with answers: none came in the others, and before the first nothing is known. */
function filled(hours: Hour[], days: number): Known[] {
  const known = new Map(hours.map((hour) => [Math.floor(Date.parse(hour.at) / 3_600_000), hour]));
  const first = Math.min(...known.keys());
  const last = Math.max(Math.floor(Date.now() / 3_600_000), ...known.keys());
  return Array.from({ length: days * 24 }, (_, index) => last - days * 24 + 1 + index).map(
    (hour) => known.get(hour) ?? { at: new Date(hour * 3_600_000).toISOString(), ...(hour < first ? UNKNOWN : NONE) },
  );
}

type Known = { [Field in keyof Hour]: Hour[Field] | (Field extends "at" ? never : null) };

const MEANS = { seconds_p50: null, seconds_p95: null, first_token_p50: null, groundedness: null, confidence: null, top_score: null };
const NONE = { answers: 0, abstained: 0, errors: 0, tokens: 0, cost: 0, up: 0, down: 0, ...MEANS };
const UNKNOWN = { answers: null, abstained: null, errors: null, tokens: null, cost: null, up: null, down: null, ...MEANS };

function Charts({ told, days }: { told: Hour[]; days: number }) {
  const hours = useMemo(() => filled(told, days), [told, days]);
  const charts = useMemo(() => {
    const of = (field: keyof Hour) => hours.map((hour) => hour[field] as number | null);
    const whole = (value: number) => count(value);
    return [
      { title: "Answers an hour", format: whole, zero: true, whole: true, least: 4, lines: [{ name: "answers", colour: "--accent", values: of("answers"), fill: true }, { name: "not answered", colour: "--dark", values: of("abstained"), dash: [5, 4] }] },
      { title: "Time to answer", format: duration, zero: true, lines: [{ name: "median", colour: "--accent", values: of("seconds_p50") }, { name: "95 %", colour: "--run-2", values: of("seconds_p95"), dash: [7, 3] }, { name: "first word", colour: "--run-3", values: of("first_token_p50"), dash: [2, 3] }] },
      { title: "Groundedness and confidence", format: percent, zero: false, least: 0.2, lines: [{ name: "groundedness", colour: "--accent", values: of("groundedness") }, { name: "confidence", colour: "--run-3", values: of("confidence"), dash: [2, 3] }] },
      { title: "Feedback", format: whole, zero: true, whole: true, least: 4, lines: [{ name: "thumbs up", colour: "--accent", values: of("up") }, { name: "thumbs down", colour: "--run-2", values: of("down"), dash: [7, 3] }] },
      { title: "Tokens an hour", format: whole, zero: true, lines: [{ name: "tokens", colour: "--dark", values: of("tokens"), fill: true }] },
      { title: "Cost an hour", format: dollars, zero: true, lines: [{ name: "dollars", colour: "--dark", values: of("cost"), fill: true }] },
    ].filter((chart) => chart.title !== "Cost an hour" || chart.lines[0]!.values.some(Boolean));
  }, [hours]);
  const xs = useMemo(() => hours.map((hour) => Date.parse(hour.at) / 1000), [hours]);
  return (
    <div class="charts">
      {charts.map((each) => (
        <Chart key={each.title} {...each} xs={xs} time />
      ))}
    </div>
  );
}
