/** A new run: a preset, the few settings that matter, and any other as a line of name=value. */
import { useState } from "preact/hooks";
import { api, type Preset } from "../api";
import { link, may } from "../state";
import { Button, Notice, said, Shown, useLoad } from "../ui";

const FEW = [
  { name: "train.epochs", title: "Passes over the data", number: true },
  { name: "train.max_answers", title: "Most answers to train on", number: true },
  { name: "train.rank", title: "Rank of the adapter", number: true },
  { name: "model.base", title: "Base model", number: false },
] as const;

/** As the command line reads it: a number, true or false, a list, else the words themselves. */
export function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function settingsOf(lines: string): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const line of lines.split("\n").map((each) => each.trim()).filter(Boolean)) {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`“${line}” is not of the form name=value, as train.seed=3`);
    settings[line.slice(0, at).trim()] = valueOf(line.slice(at + 1).trim());
  }
  return settings;
}

export function NewRun() {
  const loaded = useLoad(api.presets);
  const [chosen, setChosen] = useState<string | null>(null);
  return (
    <Shown loaded={loaded} what="the presets">
      {({ presets }) => {
        const preset = presets.find((each) => each.name === chosen) ?? presets[Math.min(1, presets.length - 1)];
        return (
          <>
            <fieldset class="presets">
              <legend class="hidden">Preset</legend>
              {presets.map((each) => (
                <label key={each.name} class="card preset">
                  <input type="radio" name="preset" checked={each === preset} onChange={() => setChosen(each.name)} />
                  <strong>{each.title}</strong>
                  <span class="quiet small">{each.about}</span>
                </label>
              ))}
            </fieldset>
            {preset && <Form key={preset.name} preset={preset} />}
          </>
        );
      }}
    </Shown>
  );
}

function Form({ preset }: { preset: Preset }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const rest = Object.entries(preset.settings).filter(([name]) => !FEW.some((each) => each.name === name));
  const start = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    setError("");
    try {
      const few = FEW.flatMap(({ name }) => {
        const text = String(form.get(name) ?? "").trim();
        return text ? [[name, valueOf(text)] as const] : [];
      });
      const settings = { ...Object.fromEntries(few), ...settingsOf(String(form.get("others") ?? "")) };
      const cost = Number(form.get("cost") || 0);
      const paid = cost > 0 ? { yes: true, max_cost: cost } : {};
      const job = await api.startJob({ kind: preset.kind, arguments: { ...preset.arguments, ...paid }, settings });
      location.hash = link("runs", "job", job.id);
    } catch (failed) {
      setError(said(failed));
    }
    setBusy(false);
  };
  const shown = (value: unknown): string => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
  return (
    <form class="settings" onSubmit={(event) => void start(event as SubmitEvent)}>
      <div class="grid">
        {FEW.map(({ name, title, number }) => (
          <label key={name} class="field stacked">
            <span>{title} <code>{name}</code></span>
            <input name={name} type="text" inputMode={number ? "decimal" : "text"} defaultValue={shown(preset.settings[name])} placeholder="as set in the project" />
          </label>
        ))}
      </div>
      <label class="field stacked">
        <span>Others, one <code>name=value</code> a line</span>
        <textarea name="others" rows={4} spellcheck={false} class="mono" placeholder={"train.seed=3\nevaluate.max_questions=90"} defaultValue={rest.map(([name, value]) => `${name}=${shown(value)}`).join("\n")} />
      </label>
      {may("admin") && preset.kind !== "train" && (
        <label class="field stacked cost">
          <span>US dollars that hosted models may cost, at most</span>
          <input name="cost" type="text" inputMode="decimal" placeholder="nothing" />
        </label>
      )}
      {error && <Notice kind="error">{error}</Notice>}
      <div class="row">
        <Button look="main" icon="play" type="submit" disabled={busy}>Start</Button>
        <span class="quiet small">It runs beside the server and goes on when this page is closed. One run writes at a time; others wait.</span>
      </div>
    </form>
  );
}
