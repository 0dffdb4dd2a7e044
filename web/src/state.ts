/** What all pages share: who calls, where we are, how it looks. */
import { computed, effect, signal } from "@preact/signals";
import { ApiError, api, away, keyWanted, type Scope, type Status } from "./api";

export const status = signal<Status | null>(null);
export const statusError = signal<string | null>(null);
/** Rises when everything should be loaded again: another key, the server is back. */
export const epoch = signal(0);

export async function loadStatus(): Promise<void> {
  try {
    status.value = await api.status();
    statusError.value = null;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 0)) status.value = error.status === 0 ? status.value : null;
    else statusError.value = error instanceof Error ? error.message : String(error);
  }
}

/** Whether the caller may do this; unknown until the server has said who calls. */
export const may = (scope: Scope): boolean => status.value?.caller.scopes.includes(scope) ?? false;
/** A key that sees only some documents sees no evaluations, runs or traffic: they hold other documents' text. */
export const seesAll = computed(() => status.value !== null && status.value.caller.access === null && may("read"));

/** The address after `#`, as path segments: `#/evaluate/test-1` is `["evaluate", "test-1"]`. */
const segmentsOf = (): string[] => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
export const route = signal<string[]>(segmentsOf());
addEventListener("hashchange", () => (route.value = segmentsOf()));
export const link = (...segments: string[]): string => `#/${segments.map(encodeURIComponent).join("/")}`;

export type Theme = "auto" | "light" | "dark";
export const theme = signal<Theme>((localStorage.getItem("ragtune.theme") as Theme | null) ?? "auto");
effect(() => {
  document.documentElement.style.colorScheme = theme.value === "auto" ? "" : theme.value;
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem("ragtune.theme", theme.value);
});

/** Said to screen readers, politely. */
export const announced = signal("");

let waiting = 0;
effect(() => {
  clearInterval(waiting);
  if (away.value) waiting = window.setInterval(() => void retry(), 4000);
});
export async function retry(): Promise<void> {
  const answer = await fetch("health").catch(() => null);
  if (!answer?.ok) return;
  away.value = false;
  await loadStatus();
  epoch.value++;
}

export { away, keyWanted };
