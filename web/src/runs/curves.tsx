/** Learning curves: of one run as it goes, or of several over each other. */
import { useMemo } from "preact/hooks";
import type { MetricsRow } from "../api";
import { Chart, type Line } from "../chart";

const two = (value: number): string => value.toFixed(2);
const rate = (value: number): string => (value === 0 ? "0" : value.toExponential(0));

const column = (rows: MetricsRow[], field: string): (number | null)[] => rows.map((row) => row[field] ?? null);
const has = (values: (number | null)[]): boolean => values.some((value) => value !== null);

export function Curves({ rows }: { rows: MetricsRow[] }) {
  const charts = useMemo(() => {
    const loss: Line[] = [{ name: "loss", colour: "--accent", values: column(rows, "loss") }];
    const validation = column(rows, "validation_loss");
    if (has(validation)) loss.push({ name: "validation", colour: "--run-2", values: validation, points: true, dash: [7, 3] });
    const rest = [
      { title: "Answers a second", field: "answers_per_second", format: (value: number) => value.toFixed(1), zero: true },
      { title: "Learning rate", field: "rate", format: rate, zero: true },
      { title: "Gradient norm", field: "gradient_norm", format: two, zero: true },
    ].map((each) => ({ ...each, lines: [{ name: each.title.toLowerCase(), colour: "--dark", values: column(rows, each.field) }] }));
    return [{ title: "Loss", lines: loss, format: two, zero: false }, ...rest.filter((each) => has(each.lines[0]!.values))];
  }, [rows]);
  const xs = useMemo(() => rows.map((row) => row.step), [rows]);
  if (!rows.length) return null;
  return (
    <div class="charts">
      {charts.map((each) => (
        <Chart key={each.title} title={each.title} xs={xs} lines={each.lines} format={each.format} zero={each.zero} />
      ))}
    </div>
  );
}

const LOOKS: { colour: string; dash?: number[] }[] = [{ colour: "--accent" }, { colour: "--run-2", dash: [7, 3] }, { colour: "--run-3", dash: [2, 3] }, { colour: "--dark", dash: [9, 3, 2, 3] }];

/** Several models' losses on one scale of steps; half-way values are left out, as none was measured there. */
export function Compared({ runs }: { runs: { name: string; rows: MetricsRow[] }[] }) {
  const { xs, of } = useMemo(() => {
    const xs = [...new Set(runs.flatMap((run) => run.rows.map((row) => row.step)))].sort((a, b) => a - b);
    const of = (field: string): Line[] =>
      runs.map((run, index) => {
        const known = new Map(run.rows.map((row) => [row.step, row[field] ?? null]));
        return { name: run.name, values: xs.map((x) => known.get(x) ?? null), points: field === "validation_loss", ...LOOKS[index % LOOKS.length]! };
      });
    return { xs, of };
  }, [runs]);
  const loss = useMemo(() => of("loss"), [of]);
  const validation = useMemo(() => of("validation_loss"), [of]);
  return (
    <div class="charts">
      <Chart title="Loss" xs={xs} lines={loss} format={two} height={240} />
      {validation.some((line) => has(line.values)) && <Chart title="Validation loss" xs={xs} lines={validation} format={two} height={240} />}
    </div>
  );
}
