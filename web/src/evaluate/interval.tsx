/** A value with its 95 % interval, drawn on a scale that the rows of a table share. */
import type { Estimate } from "../api";

/** A scale around zero that holds all of these differences. */
export function span(estimates: readonly (Pick<Estimate, "value" | "low" | "high"> | null | undefined)[]): [number, number] {
  const ends = estimates.flatMap((each) => (each ? [each.low ?? each.value, each.high ?? each.value] : [])).filter((end): end is number => end !== null);
  const reach = Math.max(0.05, ...ends.map(Math.abs)) * 1.08;
  return [-reach, reach];
}

export function Interval({ estimate, low, high, arm, label, zero = false }: { estimate: Pick<Estimate, "value" | "low" | "high">; low: number; high: number; arm: string; label: string; zero?: boolean }) {
  if (estimate.value === null) return <span class="quiet">–</span>;
  const at = (value: number) => `${(100 * (value - low)) / (high - low)}%`;
  return (
    <svg class={`interval arm-${arm}`} role="img" aria-label={label} height="22">
      <line class="axis" x1="0" x2="100%" y1="11" y2="11" />
      {zero && <line class="zero" x1={at(0)} x2={at(0)} y1="1" y2="21" />}
      {estimate.low !== null && estimate.high !== null && <line class="whisker" x1={at(estimate.low)} x2={at(estimate.high)} y1="11" y2="11" />}
      <circle cx={at(estimate.value)} cy="11" r="4.5" />
    </svg>
  );
}
