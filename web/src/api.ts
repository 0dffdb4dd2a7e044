/** The calls to `/api` and `/v1`, the key that they carry, and what a refusal means. */
import { signal } from "@preact/signals";
import { events } from "./sse";
import type { AskEvent, AskRequest, AuditEntry, Decided, DocumentList, ErrorBody, EvaluationRow, Job, JobEvent, JobKind, MetricsRow, ModelRow, Monitor, Preset, Promoting, QuestionPage, Report, ReviewItem, Served, SourceDocument, Span, Status, Trace, TraceSummary } from "./types";

export type * from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

const KEY = "ragtune.key";
/** The server said 401: a key is needed, or the one given is not known. */
export const keyWanted = signal<"" | "needed" | "refused">("");
/** The server cannot be reached. */
export const away = signal(false);

const givenKey = signal(sessionStorage.getItem(KEY));
export const storedKey = (): string | null => givenKey.value;
export function storeKey(key: string | null): void {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  givenKey.value = key;
  keyWanted.value = "";
}

export function headers(extra: Record<string, string> = {}): Record<string, string> {
  const key = storedKey();
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

/** The error that a refusing response stands for; tells the shell where a key is wanted. */
export async function refusal(response: Response): Promise<ApiError> {
  if (response.status === 401) keyWanted.value = storedKey() ? "refused" : "needed";
  const body = (await response.json().catch(() => null)) as { error?: Partial<ErrorBody>; detail?: unknown } | null;
  const after = Number(response.headers.get("Retry-After"));
  let message = body?.error?.message ?? (typeof body?.detail === "string" ? body.detail : `The server answered ${response.status} ${response.statusText}.`);
  if (response.status === 429 && after) message += ` Try again in ${after} s.`;
  return new ApiError(response.status, message, Number.isFinite(after) && after > 0 ? after : null);
}

async function reach(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) away.value = true;
    throw error instanceof DOMException ? error : new ApiError(0, "The server cannot be reached.");
  }
  away.value = false;
  if (!response.ok) throw await refusal(response);
  return response;
}

export type Query = Record<string, string | number | null | undefined>;
export function address(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter((pair): pair is [string, string | number] => pair[1] !== null && pair[1] !== undefined && pair[1] !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await reach(address(path, query), { headers: headers(), ...(signal ? { signal } : {}) })).json() as Promise<T>;
}

export async function send<T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) init.body = JSON.stringify(body);
  const response = await reach(path, init);
  return (response.status === 204 ? null : await response.json()) as T;
}

const name = encodeURIComponent;

export async function* ask(request: AskRequest, signal: AbortSignal): AsyncGenerator<AskEvent> {
  const response = await reach("api/ask", {
    method: "POST",
    headers: headers({ "Content-Type": "application/json", Accept: "text/event-stream" }),
    body: JSON.stringify(request),
    signal,
  });
  for await (const event of events(response)) yield { type: event.event, data: JSON.parse(event.data) } as AskEvent;
}

export const over = (job: Job): boolean => job.state !== "waiting" && job.state !== "running";

/** A job's events, replayed and then live; taken up where they broke off when the connection drops or the server restarts. Ends with the job. */
export async function* jobEvents(id: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
  let last = "";
  while (!signal.aborted) {
    try {
      const response = await reach(`api/jobs/${name(id)}/events`, { headers: headers(last ? { "Last-Event-ID": last } : {}), signal });
      for await (const event of events(response)) {
        if (event.id) last = event.id;
        yield JSON.parse(event.data) as JobEvent;
      }
      if (over(await api.job(id))) return; // else the server stops: it ends what it streams, and the job goes on
    } catch (error) {
      if (signal.aborted || (error instanceof ApiError && error.status !== 0 && error.status < 500)) return;
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

export interface Uploaded {
  saved: string[];
  replaced?: string[];
  unchanged?: string[];
  refused: { name: string; reason: string; taken: boolean }[];
  job: string | Job | null;
}

/** Upload files, telling how much of them is sent as a fraction of 1; fetch cannot tell that. */
export function upload(files: readonly File[], told: (fraction: number) => void, replace = false): Promise<Uploaded> {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    if (replace) form.append("replace", "true");
    for (const file of files) form.append("files", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", "api/documents");
    for (const [header, value] of Object.entries(headers())) request.setRequestHeader(header, value);
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, "The upload broke off: the server cannot be reached."));
    request.onload = async () => {
      const response = new Response(request.responseText, { status: request.status, statusText: request.statusText });
      if (response.ok) resolve((await response.json()) as Uploaded);
      else reject(await refusal(response));
    };
    request.send(form);
  });
}

/** A document with all of its text, put together where the server gives it in parts. */
async function wholeDocument(source: string): Promise<SourceDocument> {
  const first = await get<SourceDocument>("api/document", { source });
  const chunks = new Map(first.chunks.map((chunk) => [chunk.id, chunk]));
  let { text } = first;
  let length = [...text].length;
  while (length < (first.characters ?? 0)) {
    const part = await get<SourceDocument>("api/document", { source, start: length });
    if (!part.text) break;
    text += part.text;
    length += [...part.text].length;
    for (const chunk of part.chunks) chunks.set(chunk.id, chunk);
  }
  return { ...first, text, chunks: [...chunks.values()] };
}

export const api = {
  status: () => get<Status>("api/status"),
  models: () => get<{ data: { id: string }[] }>("v1/models"),
  documents: (query: Query) => get<DocumentList>("api/documents", query),
  document: wholeDocument,
  deleteDocument: (source: string) => send<{ job: string | Job | null }>("DELETE", address("api/document", { source })),
  jobs: () => get<{ jobs: Job[] }>("api/jobs"),
  job: (id: string) => get<Job>(`api/jobs/${name(id)}`),
  startJob: (body: { kind: JobKind; arguments: Record<string, unknown>; settings: Record<string, unknown> }) => send<Job>("POST", "api/jobs", body),
  stopJob: (id: string) => send<unknown>("POST", `api/jobs/${name(id)}/stop`),
  resumeJob: (id: string) => send<Job>("POST", `api/jobs/${name(id)}/resume`),
  deleteJob: (id: string) => send<unknown>("DELETE", `api/jobs/${name(id)}`),
  presets: () => get<{ presets: Preset[] }>("api/presets"),
  modelRows: () => get<{ models: ModelRow[] }>("api/models"),
  metrics: (model: string) => get<{ rows: MetricsRow[] }>(`api/models/${name(model)}/metrics`),
  promote: (model: string, asked: Promoting) => send<Served>("POST", `api/models/${name(model)}/promote`, asked),
  rollback: () => send<Served>("POST", "api/rollback", {}),
  audit: () => get<{ entries: AuditEntry[] }>("api/audit"),
  evaluations: () => get<{ evaluations: EvaluationRow[] }>("api/evaluations"),
  evaluation: (evaluation: string) => get<{ name: string; report: Report; manifest: Record<string, unknown> }>(`api/evaluations/${name(evaluation)}`),
  questions: (evaluation: string, query: Query) => get<QuestionPage>(`api/evaluations/${name(evaluation)}/questions`, query),
  reportAddress: (evaluation: string) => `api/evaluations/${name(evaluation)}/report.html`,
  reportPage: async (evaluation: string) => (await reach(api.reportAddress(evaluation), { headers: headers() })).blob(),
  traces: (query: Query) => get<{ traces: TraceSummary[]; total: number }>("api/traces", query),
  trace: (id: string) => get<Trace>(`api/traces/${name(id)}`),
  deleteTrace: (id: string) => send<unknown>("DELETE", `api/traces/${name(id)}`),
  feedback: (trace: string, body: { rating: "up" | "down" | null; reason?: string; correction?: string }) =>
    send<unknown>("POST", `api/traces/${name(trace)}/feedback`, body),
  review: (query: Query) => get<{ items: ReviewItem[]; total: number; open: number }>("api/review", query),
  decide: (id: string, body: { decision: "accept" | "dismiss"; answers: string[]; evidence: Span[]; question?: string; note?: string }) =>
    send<Decided>("POST", `api/review/${name(id)}`, body),
  monitor: (days: number) => get<Monitor>("api/monitor", { days }),
};
