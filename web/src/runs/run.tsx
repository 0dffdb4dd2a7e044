/** One run, live: how far it is, what it measures, what it says. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api, over } from "../api";
import { Progress, State, useJob } from "../jobs";
import { link, may } from "../state";
import { duration, when } from "../text";
import { Button, Notice, said, Waiting } from "../ui";
import { Curves } from "./curves";
import { KINDS } from "./page";

export function RunView({ id }: { id: string }) {
  const [turn, setTurn] = useState(0);
  const { job, rows, lines, error: missing } = useJob(id, undefined, turn);
  const [error, setError] = useState("");
  const back = <p class="back"><a href={link("runs")}>Runs</a></p>;
  if (!job) return <div class="page">{missing ? <>{back}<Notice kind="error">{missing}</Notice></> : <Waiting what="the run" />}</div>;
  const act = (action: Promise<unknown>) => action.then(() => setError(""), (failed: unknown) => setError(said(failed)));
  const resume = () => act(api.resumeJob(id).then(() => setTurn((n) => n + 1)));
  const settings = Object.entries({ ...job.arguments, ...job.settings });
  return (
    <div class="page">
      {back}
      <header class="page-head">
        <h1>{KINDS[job.kind] ?? job.kind}</h1>
        {may("write") && !over(job) && <Button icon="stop" onClick={() => void act(api.stopJob(id))}>Stop</Button>}
        {may("write") && (job.state === "stopped" || job.state === "failed") && <Button look="main" icon="play" onClick={() => void resume()}>Resume</Button>}
      </header>
      <p class="row"><State job={job} /><span class="quiet small">{[when(job.started ?? job.created), job.seconds !== null && duration(job.seconds), job.model].filter(Boolean).join(" · ")}</span></p>
      {(!over(job) || job.total !== null) && <Progress job={job} />}
      {job.error && <Notice kind="error">{job.error}</Notice>}
      {error && <Notice kind="error">{error}</Notice>}
      {job.state === "done" && job.model && (
        <Notice>It made <strong>{job.model}</strong>. <a href={link("evaluate")}>See the evaluations</a>, or <a href={link("runs", "models")}>promote it</a>.</Notice>
      )}
      <Curves rows={rows} />
      {settings.length > 0 && (
        <details class="reasons">
          <summary>Settings</summary>
          <dl class="pairs">{settings.map(([name, value]) => <><dt>{name}</dt><dd>{typeof value === "string" ? value : JSON.stringify(value)}</dd></>)}</dl>
        </details>
      )}
      <Log lines={lines} />
    </div>
  );
}

function Log({ lines }: { lines: string[] }) {
  const place = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const node = place.current;
    if (node && node.scrollHeight - node.scrollTop - node.clientHeight < 80) node.scrollTop = node.scrollHeight;
  }, [lines]);
  if (!lines.length) return null;
  return (
    <section>
      <h2>Log</h2>
      <pre ref={place} class="log" tabIndex={0} aria-label="Log">{lines.join("\n")}</pre>
    </section>
  );
}
