/** Conversations: kept in this browser alone, for each key by itself, the oldest dropped where the browser gives no more room. */
import { computed, effect, signal } from "@preact/signals";
import { storedKey, type Answer, type Message, type Passage } from "../api";

export interface Column {
  model: string;
  state: "finding" | "reading" | "done" | "stopped" | "failed";
  raw: string;
  passages: Passage[];
  answer: Answer | null;
  error: string | null;
  rating: "up" | "down" | null;
}

export interface Filter {
  source: string;
  media_type: string;
}

export interface Turn {
  id: string;
  question: string;
  at: string;
  filter: Filter;
  columns: Column[];
}

export interface Conversation {
  id: string;
  title: string;
  at: string;
  turns: Turn[];
}

/** Names a key without telling it (FNV-1a): over plain HTTP a browser has no crypto.subtle. */
const hashed = (key: string): string => [...key].reduce((hash, letter) => Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193) >>> 0, 0x811c9dc5).toString(36);
/** Whoever gives another key in this browser is not shown what was asked with this one. */
const place = computed(() => ["ragtune.conversations", ...(storedKey() ? [hashed(storedKey()!)] : [])].join("."));
const MOST = 300;

function stored(): Conversation[] {
  try {
    const kept = JSON.parse(localStorage.getItem(place.value) ?? "[]") as Conversation[];
    // What was being written when the page was left will not go on.
    for (const column of kept.flatMap((each) => each.turns).flatMap((turn) => turn.columns)) if (working(column)) column.state = "stopped";
    return kept;
  } catch {
    return [];
  }
}

export const working = (column: Column): boolean => column.state === "finding" || column.state === "reading";

export const conversations = signal<Conversation[]>([]);
export const currentId = signal<string | null>(null);
effect(() => {
  conversations.value = stored();
  currentId.value = null;
});
// Another tab's conversations are shown here too, and not written over: all but what is just being answered here is taken from it.
addEventListener("storage", (event) => {
  if (event.key !== place.value) return;
  const own = conversations.value.filter((each) => each.turns.some((turn) => turn.columns.some(working)));
  conversations.value = [...own, ...stored().filter((each) => !own.some((one) => one.id === each.id))];
});
export const current = computed(() => conversations.value.find((each) => each.id === currentId.value) ?? null);
export const busy = computed(() => current.value?.turns.some((turn) => turn.columns.some(working)) ?? false);

export function keep(): void {
  const list = [...conversations.value];
  for (;;) {
    try {
      localStorage.setItem(place.value, JSON.stringify(list));
      return;
    } catch {
      if (!list.length) return;
      list.pop();
    }
  }
}

function put(conversation: Conversation): void {
  conversations.value = [conversation, ...conversations.value.filter((each) => each.id !== conversation.id)].slice(0, MOST);
}

export const newId = (): string => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");

/** Add a turn to the current conversation, or begin one with it. */
export function addTurn(turn: Turn): Conversation {
  const old = current.value;
  const next = old ? { ...old, at: turn.at, turns: [...old.turns, turn] } : { id: newId(), title: turn.question, at: turn.at, turns: [turn] };
  put(next);
  currentId.value = next.id;
  keep();
  return next;
}

export function changeColumn(conversation: string, turn: string, index: number, change: Partial<Column>): void {
  conversations.value = conversations.value.map((each) =>
    each.id !== conversation
      ? each
      : { ...each, turns: each.turns.map((one) => (one.id !== turn ? one : { ...one, columns: one.columns.map((column, at) => (at === index ? { ...column, ...change } : column)) })) },
  );
}

/** Take a turn and all after it away: what edit and resend begins with. */
export function cutFrom(turn: string): void {
  const old = current.value;
  if (!old) return;
  const at = old.turns.findIndex((each) => each.id === turn);
  if (at < 0) return;
  const turns = old.turns.slice(0, at);
  if (turns.length) put({ ...old, turns });
  else forget(old.id);
  keep();
}

export function forget(id: string | "all"): void {
  conversations.value = id === "all" ? [] : conversations.value.filter((each) => each.id !== id);
  if (id === "all" || currentId.value === id) currentId.value = null;
  keep();
}

export function historyBefore(conversation: Conversation | null, index: number, turn?: string): Message[] {
  const turns = conversation?.turns ?? [];
  const end = turn ? turns.findIndex((each) => each.id === turn) : turns.length;
  return turns.slice(Math.max(0, end - 6), end).flatMap((each): Message[] => {
    const answer = (each.columns[index] ?? each.columns[0])?.answer;
    return answer && !answer.abstained ? [{ role: "user", content: each.question }, { role: "assistant", content: answer.answer }] : [];
  });
}

/** A conversation as Markdown, for a file. */
export function exported(conversation: Conversation): string {
  const turns = conversation.turns.map((turn) => {
    const answers = turn.columns.map((column) => {
      const quotes = (column.answer?.citations ?? []).map((citation) => `> ${citation.quote.replace(/\n/g, "\n> ")}\n> — [${citation.number}] ${citation.title} (${citation.document})${citation.found ? ", found by the words of the answer" : ""}\n`);
      return `**${column.model}**: ${column.answer?.answer || column.answer?.markdown || column.error || column.raw}\n\n${quotes.join("\n")}`;
    });
    return `## ${turn.question}\n\n${answers.join("\n")}`;
  });
  return `# ${conversation.title}\n\n${turns.join("\n")}`;
}
