/** Lines over steps or time. The canvas is for eyes; who does not see it is told where each line begins, ends, and how far it goes. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "./state";
import { useMedia } from "./ui";

export interface Line {
  name: string;
  /** A custom property of the style sheet. */
  colour: string;
  dash?: number[];
  values: (number | null)[];
  /** Draw points, where values are few. */
  points?: boolean;
  fill?: boolean;
}

interface Props {
  title: string;
  /** Seconds since 1970 where `time`, else plain numbers. */
  xs: number[];
  lines: Line[];
  format: (value: number) => string;
  time?: boolean;
  xName?: string;
  height?: number;
  zero?: boolean;
  /** Between the ends of the scale, at least; what lies closer together would seem to differ more than it does. */
  least?: number;
  /** Values that are counted: no tick lies between two of them. */
  whole?: boolean;
}

const css = (name: string): string => {
  // light-dark() is only resolved in a real property.
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
};

function options({ xs, lines, format, time, height = 180, zero, least = 0, whole }: Props, width: number): uPlot.Options {
  const quiet = css("--quiet");
  const axis: uPlot.Axis = { stroke: quiet, font: "11px system-ui, sans-serif", grid: { stroke: css("--rule"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height,
    padding: [8, 18, 0, 0],
    cursor: { y: false, points: { size: 7 } },
    legend: { show: false },
    scales: { x: { time: Boolean(time), ...(xs.length < 2 ? { range: [0, 1] as uPlot.Range.MinMax } : {}) }, y: { range: (_, low, high) => bounds(low, high, least, zero) } },
    axes: [
      { ...axis, grid: { show: false }, space: 64, size: 28, ...(time ? { values: (_: uPlot, ticks: number[], __: number, ___: number, step: number) => ticks.map((tick) => stamp(tick, step)) } : {}) },
      { ...axis, size: 48, space: 30, ...(whole ? { incrs: WHOLE } : {}), values: (_, ticks) => ticks.map((tick) => format(tick)) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.name,
        stroke: css(line.colour),
        width: 1.75,
        spanGaps: true,
        ...(line.dash ? { dash: line.dash } : {}),
        ...(line.fill ? { fill: css(line.colour).replace("rgb(", "rgba(").replace(")", ", .12)") } : {}),
        points: { show: line.points ?? line.values.filter((value) => value !== null).length < FEW, size: 6, fill: css(line.colour) },
      })),
    ],
  };
}

const FEW = 30;
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((times) => times * 10 ** power));

const stamp = (seconds: number, step: number): string =>
  new Date(seconds * 1000).toLocaleString("en-GB", step >= 86_400 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" });

function bounds(low: number | null, high: number | null, least: number, zero?: boolean): [number, number] {
  if (low === null || high === null) return [0, 1];
  const from = zero ? Math.min(0, low) : low;
  const room = Math.max((high - from) * 0.08, (least - (high - from)) / 2) || Math.abs(high) * 0.1 || 1;
  return [zero && low >= 0 ? 0 : from - room, high + room];
}

const last = (values: (number | null)[]): number | null => values.findLast((value) => value !== null && value !== undefined) ?? null;

export function Chart(props: Props) {
  const { title, xs, lines, format, time, xName = "step" } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const dark = useMedia("(prefers-color-scheme: dark)");
  const shape = lines.map((line) => `${line.name}${line.colour}`).join();
  useEffect(() => {
    const node = place.current!;
    const made = new uPlot({ ...options(props, node.clientWidth), hooks: { setCursor: [(self) => setAt(self.cursor.idx ?? null)] } }, [xs, ...lines.map((line) => line.values)], node);
    plot.current = made;
    const watch = new ResizeObserver(() => node.clientWidth && made.setSize({ width: node.clientWidth, height: props.height ?? 180 }));
    watch.observe(node);
    return () => (watch.disconnect(), made.destroy());
  }, [shape, dark, theme.value, time]);
  useEffect(() => plot.current?.setData([xs, ...lines.map((line) => line.values)]), [xs, lines]);
  const value = (line: Line) => (at === null ? last(line.values) : (line.values[at] ?? null));
  const x = (index: number) => (time ? new Date(xs[index]! * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }) : `${xName} ${xs[index]}`);
  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <span class="small quiet at">{at !== null && xs[at] !== undefined ? x(at) : ""}</span>
        {lines.map((line) => (
          <span key={line.name} class="key small">
            <svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" style={{ stroke: `var(${line.colour})`, strokeWidth: 2, strokeDasharray: line.dash?.join(" ") }} /></svg>
            {line.name} <b>{value(line) === null ? "–" : format(value(line)!)}</b>
          </span>
        ))}
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={`${title}. ${lines.map((line) => summary(line, format)).join(" ")}`} />
    </figure>
  );
}

function summary(line: Line, format: (value: number) => string): string {
  const kept = line.values.filter((value): value is number => value !== null && value !== undefined);
  if (!kept.length) return `${line.name}: nothing yet.`;
  return `${line.name}: from ${format(kept[0]!)} to ${format(kept[kept.length - 1]!)}, lowest ${format(Math.min(...kept))}, highest ${format(Math.max(...kept))}.`;
}
