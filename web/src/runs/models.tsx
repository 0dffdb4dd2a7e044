/** Models: what is served, their curves over each other, promote and roll back, and who did what. */
import { useEffect, useState } from "preact/hooks";
import { api, type MetricsRow, type ModelRow, type Served } from "../api";
import { announced, loadStatus, may } from "../state";
import { date, duration, when } from "../text";
import { Button, Confirm, Empty, Modal, Notice, said, Shown, useLoad } from "../ui";
import { Compared } from "./curves";

const MOST = 4;

export function Models() {
  const loaded = useLoad(api.modelRows);
  const [chosen, setChosen] = useState<string[]>([]);
  const [promoting, setPromoting] = useState<string | null>(null);
  const [backing, setBacking] = useState(false);
  const [turn, setTurn] = useState(0);
  const [warnings, setWarnings] = useState<string[]>([]);
  const changed = async (done: Served) => {
    const told = [...done.refused.map((each) => `Not promoted, because ${each}: ${done.served} goes on.`), ...done.warnings];
    setWarnings(told);
    announced.value = [`${done.served} is served.`, ...told].join(" ");
    loaded.reload();
    setTurn((n) => n + 1);
    await loadStatus();
  };
  return (
    <>
      {warnings.map((each) => <Notice key={each} kind="warning">{each}</Notice>)}
      <Shown loaded={loaded} what="the models">
        {({ models }) =>
          models.length === 0 ? (
            <Empty icon="runs" title="No models yet" />
          ) : (
            <ul class="models">
              {models.map((model) => (
                <Row
                  key={model.name}
                  model={model}
                  chosen={chosen.includes(model.name)}
                  choose={(on) => setChosen(on ? [...chosen, model.name].slice(-MOST) : chosen.filter((each) => each !== model.name))}
                  promote={() => setPromoting(model.name)}
                />
              ))}
            </ul>
          )
        }
      </Shown>
      {chosen.length > 0 && <Curves names={chosen} />}
      {may("admin") && (
        <section>
          <div class="section-head">
            <h2>Who changed what is served</h2>
            <Button icon="history" onClick={() => setBacking(true)}>Roll back</Button>
          </div>
          <Audit turn={turn} />
        </section>
      )}
      {promoting && <Promote name={promoting} close={() => setPromoting(null)} done={changed} />}
      {backing && (
        <Confirm title="Roll back?" action="Roll back" close={() => setBacking(false)} act={() => api.rollback().then(changed)}>
          What was served before is served again, from the next question on. Questions being answered are finished.
        </Confirm>
      )}
    </>
  );
}

const KINDS = { base: "base model", tuned: "tuned here", hosted: "hosted" };

function Row({ model, chosen, choose, promote }: { model: ModelRow; chosen: boolean; choose: (on: boolean) => void; promote: () => void }) {
  const figures = Object.entries(model.figures).filter((pair): pair is [string, number] => typeof pair[1] === "number").slice(0, 4);
  return (
    <li class={model.served ? "served" : ""}>
      <div>
        <span class="title">{model.name}</span>
        {model.served && <span class="tag on">served</span>}
        {model.unfinished && <span class="tag">unfinished</span>}
        <span class="quiet small facts">
          <span>{KINDS[model.kind] ?? model.kind}</span>
          {model.kind === "tuned" && model.base && <span>on {model.base}</span>}
          {model.created && <span>{date(model.created)}</span>}
          {model.seconds !== null && <span>{duration(model.seconds)}</span>}
          {figures.map(([name, value]) => <span key={name}>{name.replaceAll("_", " ")} {value.toPrecision(3)}</span>)}
        </span>
      </div>
      {model.kind === "tuned" && (
        <label class="chip"><input type="checkbox" checked={chosen} onChange={(event) => choose(event.currentTarget.checked)} aria-label={`Curves of ${model.name}`} /> Curves</label>
      )}
      {may("admin") && model.servable && !model.served && !model.unfinished && <Button onClick={promote} label={`Promote ${model.name}`}>Promote</Button>}
    </li>
  );
}

function Promote({ name, close, done }: { name: string; close: () => void; done: (served: Served) => Promise<void> }) {
  const [error, setError] = useState("");
  const [against, setAgainst] = useState("");
  const evaluations = useLoad(api.evaluations);
  const known = evaluations.data?.evaluations ?? [];
  // The base was asked in each evaluation; it has none of its own.
  const own = known.some((each) => each.model === name) ? ["base", "base-fewshot"] : [];
  const evaluated = name === "base" ? [] : [...own, ...known.flatMap((each) => (each.model === null || each.model === name ? [] : [each.model]))];
  const go = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const [note, condition] = ["note", "condition"].map((field) => String(form.get(field) ?? "").trim());
    try {
      await done(await api.promote(name, { ...(note && { note }), ...(against && { against, fail_if: condition ? [condition] : [] }) }));
      close();
    } catch (failed) {
      setError(said(failed));
    }
  };
  return (
    <Modal title={`Serve ${name}?`} close={close} narrow>
      <form onSubmit={(event) => void go(event as SubmitEvent)}>
        <p>Who asks <code>ragtune</code> is answered by it from the next question on. Rolling back takes a second.</p>
        <label class="field stacked">
          <span>Compare with</span>
          <select value={against} onChange={(event) => setAgainst(event.currentTarget.value)}>
            <option value="">nothing</option>
            {[...new Set(evaluated)].map((each) => <option key={each} value={each}>{each}</option>)}
          </select>
        </label>
        {against && (
          <label class="field stacked">
            <span>Do not promote if the difference is</span>
            <input name="condition" defaultValue="retrieved.f1 < -0.02" spellcheck={false} />
          </label>
        )}
        <label class="field stacked"><span>Why, for those who come after (optional)</span><input name="note" /></label>
        {error && <Notice kind="error">{error}</Notice>}
        <footer>
          <Button onClick={close}>Cancel</Button>
          <Button look="main" type="submit">Promote</Button>
        </footer>
      </form>
    </Modal>
  );
}

function Curves({ names }: { names: string[] }) {
  const [runs, setRuns] = useState<{ name: string; rows: MetricsRow[] }[]>([]);
  const [error, setError] = useState("");
  useEffect(() => {
    let gone = false;
    Promise.all(names.map(async (name) => ({ name, rows: (await api.metrics(name)).rows }))).then(
      (loaded) => !gone && setRuns(loaded),
      (failed: unknown) => !gone && setError(said(failed)),
    );
    return () => void (gone = true);
  }, [names.join()]);
  if (error) return <Notice kind="error">{error}</Notice>;
  return runs.length ? <Compared runs={runs} /> : null;
}

const ACTIONS: Record<string, string> = { rollback: "rolled back to", promote: "promoted", refused: "was refused to promote" };

function Audit({ turn }: { turn: number }) {
  const loaded = useLoad(api.audit, [turn]);
  return (
    <Shown loaded={loaded} what="the audit log">
      {({ entries }) =>
        entries.length === 0 ? (
          <p class="quiet">Nothing was promoted yet: the newest tuned model is served.</p>
        ) : (
          <ul class="audit">
            {entries.map((entry, index) => (
              <li key={index}>
                <span class="quiet small">{when(entry.at)}</span>
                <span><strong>{entry.who}</strong> {ACTIONS[entry.action] ?? entry.action} <strong>{entry.model}</strong>{entry.previous && <span class="quiet"> in place of {entry.previous}</span>}{entry.note && <q class="quiet">{entry.note}</q>}</span>
              </li>
            ))}
          </ul>
        )
      }
    </Shown>
  );
}
