/** Ask, and follow the answer as it is written: once for each model that is asked. */
import { signal } from "@preact/signals";
import { api, ask, type AskRequest } from "../api";
import { announced } from "../state";
import { said } from "../ui";
import { addTurn, changeColumn, conversations, current, cutFrom, historyBefore, keep, newId, type Column, type Conversation, type Filter, type Turn } from "./store";

/** What the next question is asked of and in; `against` is a second model beside the first. */
export const chosenModel = signal("ragtune");
export const against = signal<string | null>(null);
export const filter = signal<Filter>({ source: "", media_type: "" });

/** What the server takes is a pattern: a path is the beginning of one, a bare word is found anywhere in the name. */
const pattern = (written: string): string => (/[*?[]/.test(written) ? written : written.includes("/") ? `${written}*` : `*${written}*`);

const running = new Map<string, AbortController>();

const fresh = (model: string): Column => ({ model, state: "finding", raw: "", passages: [], answer: null, error: null, rating: null });

async function follow(conversation: Conversation, turn: Turn, index: number): Promise<void> {
  const place = `${turn.id}/${index}`;
  running.get(place)?.abort();
  const stop = new AbortController();
  running.set(place, stop);
  const tell = (change: Partial<Column>) => changeColumn(conversation.id, turn.id, index, change);
  const request: AskRequest = { question: turn.question, model: turn.columns[index]!.model, conversation: conversation.id };
  const history = historyBefore(conversation, index, turn.id);
  if (history.length) request.history = history;
  if (turn.filter.source) request.source = pattern(turn.filter.source);
  if (turn.filter.media_type) request.media_type = turn.filter.media_type;
  let raw = "";
  let frame = 0;
  try {
    for await (const event of ask(request, stop.signal)) {
      if (event.type === "retrieved") {
        tell({ state: "reading", passages: event.data.passages });
        announced.value = `${event.data.passages.length} passages found.`;
      } else if (event.type === "piece") {
        raw += event.data.text;
        frame ||= requestAnimationFrame(() => {
          frame = 0;
          tell({ raw });
        });
      } else if (event.type === "answer") {
        cancelAnimationFrame(frame);
        tell({ state: "done", raw, answer: event.data, passages: event.data.passages });
        announced.value = event.data.abstained ? "The documents do not answer this." : `Answer: ${event.data.answer}`;
      } else throw new Error(event.data.error.message);
    }
    if (!stop.signal.aborted && latest(conversation.id, turn.id, index)?.state === "reading") tell({ state: "failed", raw, error: "The server broke off before the answer was whole." });
  } catch (error) {
    cancelAnimationFrame(frame);
    // It was whole when the stream was left, or it is being written anew.
    if (latest(conversation.id, turn.id, index)?.state === "done" || running.get(place) !== stop) return;
    if (stop.signal.aborted) tell({ state: "stopped", raw });
    else tell({ state: "failed", raw, error: said(error) });
    announced.value = stop.signal.aborted ? "Stopped." : `No answer: ${said(error)}`;
  } finally {
    if (running.get(place) === stop) running.delete(place);
    keep();
  }
}

const latest = (conversation: string, turn: string, index: number): Column | undefined =>
  conversations.value.find((each) => each.id === conversation)?.turns.find((each) => each.id === turn)?.columns[index];

export function submit(question: string): void {
  const models = against.value && against.value !== chosenModel.value ? [chosenModel.value, against.value] : [chosenModel.value];
  const turn: Turn = { id: newId(), question, at: new Date().toISOString(), filter: filter.value, columns: models.map(fresh) };
  const conversation = addTurn(turn);
  turn.columns.forEach((_, index) => void follow(conversation, turn, index));
}

export function stopAll(): boolean {
  const any = running.size > 0;
  for (const controller of running.values()) controller.abort();
  return any;
}

export function regenerate(turn: Turn, index: number): void {
  const conversation = current.value;
  if (!conversation) return;
  const model = turn.columns[index]!.model;
  changeColumn(conversation.id, turn.id, index, fresh(model));
  void follow(conversation, { ...turn, columns: turn.columns.map((column, at) => (at === index ? fresh(model) : column)) }, index);
}

export function resend(turn: Turn, question: string): void {
  stopAll();
  cutFrom(turn.id);
  submit(question);
}

export async function rate(conversation: string, turn: Turn, index: number, rating: "up" | "down" | null, reason?: string, correction?: string): Promise<void> {
  const trace = turn.columns[index]?.answer?.trace;
  if (!trace) return;
  const more = { ...(reason ? { reason } : {}), ...(correction ? { correction } : {}) };
  await api.feedback(trace, { rating, ...more });
  changeColumn(conversation, turn.id, index, { rating });
  keep();
}
