/** Runs: start one from a preset, watch it, stop it, take it up again; and the models that came of them. */
import { useEffect, useState } from "preact/hooks";
import { api, over, type Job } from "../api";
import { Progress, State } from "../jobs";
import { link, may, route } from "../state";
import { duration, when } from "../text";
import { Button, Confirm, Empty, Shown, Tabs, useLoad } from "../ui";
import { Models } from "./models";
import { NewRun } from "./new";
import { RunView } from "./run";

export default function RunsPage() {
  const [, what, name] = route.value;
  if (what === "job" && name) return <RunView key={name} id={name} />;
  const tab = what === "models" || what === "new" ? what : "jobs";
  const tabs = [
    { name: "jobs", href: link("runs"), text: "Runs" },
    { name: "models", href: link("runs", "models"), text: "Models" },
    ...(may("write") ? [{ name: "new", href: link("runs", "new"), text: "New run" }] : []),
  ];
  return (
    <div class="page">
      <header class="page-head"><h1>Runs</h1></header>
      <Tabs label="Runs and models" tabs={tabs} current={tab} />
      {tab === "jobs" ? <Jobs /> : tab === "models" ? <Models /> : <NewRun />}
    </div>
  );
}

export const KINDS: Record<string, string> = { ingest: "Read documents", dataset: "Make a dataset", train: "Train", evaluate: "Evaluate", run: "Everything: data, training, evaluation", synthesise: "Make questions", purge: "Remove documents" };

function Jobs() {
  const loaded = useLoad(api.jobs);
  const [deleting, setDeleting] = useState<Job | null>(null);
  const going = loaded.data?.jobs.some((job) => !over(job)) ?? false;
  useEffect(() => {
    if (!going) return undefined;
    const timer = setInterval(loaded.reload, 2000);
    return () => clearInterval(timer);
  }, [going, loaded.reload]);
  return (
    <Shown loaded={loaded} what="the runs">
      {({ jobs }) =>
        jobs.length === 0 ? (
          <Empty icon="runs" title="Nothing was started here yet">
            <p>A run makes questions from the documents, tunes a small model on them, and measures whether it answers better.</p>
            <p>What was trained on the command line stands under <a href={link("runs", "models")}>Models</a>.</p>
            {may("write") && <p><a class="button main" href={link("runs", "new")}>Choose how</a></p>}
          </Empty>
        ) : (
          <ul class="jobs">
            {jobs.map((job) => (
              <li key={job.id}>
                <a href={link("runs", "job", job.id)}>
                  <span class="title">{KINDS[job.kind] ?? job.kind}</span>
                  <State job={job} />
                  <span class="quiet small facts">
                    <span>{when(job.created)}</span>
                    {job.seconds !== null && <span>{duration(job.seconds)}</span>}
                    {job.model && <span>{job.model}</span>}
                  </span>
                </a>
                {!over(job) && <Progress job={job} />}
                {job.error && <p class="small bad">{job.error}</p>}
                {over(job) && may("write") && <Button icon="trash" look="quiet" label={`Delete the record of ${KINDS[job.kind] ?? job.kind}, ${when(job.created)}`} onClick={() => setDeleting(job)} />}
              </li>
            ))}
            {deleting && (
              <Confirm title="Delete this record?" action="Delete" close={() => setDeleting(null)} act={() => api.deleteJob(deleting.id).then(loaded.reload)}>
                Its log goes. The model, the dataset and the evaluation that it made stay.
              </Confirm>
            )}
          </ul>
        )
      }
    </Shown>
  );
}
