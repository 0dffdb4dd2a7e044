/** A job as it goes: its record, what it said, and what it measured, replayed and then live. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api, jobEvents, over, type Job, type JobEvent, type MetricsRow } from "./api";
import { announced, epoch } from "./state";
import { duration } from "./text";
import { said } from "./ui";

export interface Followed {
  job: Job | null;
  rows: MetricsRow[];
  lines: string[];
  /** Why there is no job to follow. */
  error: string | null;
}

const NOTHING: Followed = { job: null, rows: [], lines: [], error: null };

/** The id of a job, however the server names it in an answer. */
export const jobId = (job: string | Job | null | undefined): string | null => (typeof job === "string" ? job : (job?.id ?? null));

const lineOf = (event: JobEvent): string | null => {
  const text = event["text"] ?? event["message"] ?? event["line"];
  if (event.type === "stage") return `— ${[event["stage"], event["step"], text].filter(Boolean).map(String).join(": ")}`;
  return (event.type === "log" || event.type === "note") && text !== undefined ? String(text) : null;
};

/** Follow a job; `ended` is called when it is over, and another `turn` follows it anew, as one that is resumed under its id. */
export function useJob(id: string | null, ended?: (job: Job) => void, turn = 0): Followed {
  const [state, setState] = useState<Followed>(NOTHING);
  const told = useRef(ended);
  told.current = ended;
  useEffect(() => {
    if (!id) {
      setState(NOTHING);
      return undefined;
    }
    const stop = new AbortController();
    const rows: MetricsRow[] = [];
    const lines: string[] = [];
    let job: Job | null = null;
    let timer = 0;
    const show = () => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        if (!stop.signal.aborted) setState({ job, rows: [...rows], lines: lines.slice(-400), error: null });
      }, 120);
    };
    const take = (event: JobEvent) => {
      if (event.type === "metrics") rows.push(event as unknown as MetricsRow);
      const line = lineOf(event);
      if (line !== null) lines.push(line);
      if (job && (event.type === "progress" || event.type === "state" || event.type === "stage")) {
        const { at: _, type: __, ...fields } = event;
        job = { ...job, ...(fields as Partial<Job>) };
      }
      show();
    };
    void (async () => {
      try {
        job = await api.job(id);
      } catch (error) {
        // Of a server that is away or wants a key the shell tells: when it answers, all is loaded again.
        if (!stop.signal.aborted && !(error instanceof ApiError && (error.status === 0 || error.status === 401))) setState({ ...NOTHING, error: said(error) });
        return;
      }
      show();
      for await (const event of jobEvents(id, stop.signal)) take(event);
      if (stop.signal.aborted) return;
      job = await api.job(id).catch(() => job);
      show();
      if (job && over(job)) {
        announced.value = `${job.kind}: ${job.state}.`;
        told.current?.(job);
      }
    })();
    return () => stop.abort();
  }, [id, turn, epoch.value]);
  return state;
}

const STATES = { waiting: "waiting for the job before it", running: "running", done: "done", failed: "failed", stopped: "stopped" };

export function State({ job }: { job: Job }) {
  return <span class={`state ${job.state}`}>{STATES[job.state] ?? job.state}</span>;
}

export function Progress({ job }: { job: Job }) {
  const share = job.state === "done" ? 1 : job.total ? (job.done ?? 0) / job.total : null;
  return (
    <div class="progress">
      <div class="bar" role="progressbar" aria-label={`Progress of ${job.kind}`} aria-valuemin={0} aria-valuemax={100} {...(share === null ? {} : { "aria-valuenow": Math.round(share * 100) })}>
        <span class={share === null && !over(job) ? "unknown" : ""} style={{ width: share === null ? "30%" : `${share * 100}%` }} />
      </div>
      <p class="quiet small">
        {[job.stage, job.total ? `${job.done ?? 0} of ${job.total}` : null, job.message, job.seconds_left ? `about ${duration(job.seconds_left)} left` : null].filter(Boolean).join(" · ") || (over(job) ? "" : "starting…")}
      </p>
    </div>
  );
}
