/** Offsets of the server are code points; JavaScript's strings count UTF-16 units. Marks in a text, and figures in words. */

const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/;

/** A function from code points to UTF-16 units of this text, and the way back. */
export function offsets(text: string): { units: (points: number) => number; points: (units: number) => number } {
  if (!PAIRS.test(text)) return { units: (n) => Math.max(0, Math.min(n, text.length)), points: (n) => n };
  const starts: number[] = [];
  for (let at = 0; at < text.length; at += text.codePointAt(at)! > 0xffff ? 2 : 1) starts.push(at);
  starts.push(text.length);
  return {
    units: (n) => starts[Math.max(0, Math.min(n, starts.length - 1))]!,
    points: (n) => {
      let low = 0;
      let high = starts.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (starts[middle]! < n) low = middle + 1;
        else high = middle;
      }
      return low;
    },
  };
}

export interface Mark {
  /** In UTF-16 units. */
  start: number;
  end: number;
  kind: string;
}

export interface Segment {
  text: string;
  start: number;
  kinds: string[];
}

/** The text cut wherever a mark begins or ends, each piece with the marks that lie over it. */
export function segments(text: string, marks: readonly Mark[]): Segment[] {
  const kept = marks.filter((mark) => mark.end > mark.start);
  const cuts = [...new Set([0, text.length, ...kept.flatMap((mark) => [mark.start, mark.end])])].filter((at) => at >= 0 && at <= text.length).sort((a, b) => a - b);
  return cuts.slice(0, -1).map((start, index) => {
    const end = cuts[index + 1]!;
    return { text: text.slice(start, end), start, kinds: kept.filter((mark) => mark.start <= start && mark.end >= end).map((mark) => mark.kind) };
  });
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n: number): string => (Math.abs(n) < 10_000 ? plain.format(n) : short.format(n));
export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (share: number): string => `${Math.round(share * 100)} %`;
export const dollars = (cost: number | null | undefined): string =>
  cost === null || cost === undefined ? "–" : cost === 0 ? "$0" : cost < 0.01 ? `$${cost.toPrecision(2)}` : `$${cost.toFixed(2)}`;

/** A duration in words, from seconds. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)}\u00a0ms`;
  if (seconds < 60) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)}\u00a0s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)}\u00a0min`;
}

const moment = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
export const when = (iso: string | null | undefined): string => (iso ? moment.format(new Date(iso)) : "–");
export const date = (iso: string | null | undefined): string => (iso ? day.format(new Date(iso)) : "–");

export const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
export const figure = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : value.toFixed(2).replace("-", "−"));

/** What a probability means to a reader. */
export function likelihood(confidence: number): string {
  if (confidence >= 0.85) return "very likely in these passages";
  if (confidence >= 0.6) return "likely in these passages";
  if (confidence >= 0.35) return "uncertain: check the passages";
  return "unlikely in these passages";
}

/** What a person says of a question whose answer is nowhere, where they rate it and where they review it. */
export const UNANSWERED = "The documents do not answer this";
