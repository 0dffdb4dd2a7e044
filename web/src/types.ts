/** What the server speaks. Times are UTC ISO 8601, durations seconds, offsets code points of a document's text. */

export type Scope = "ask" | "read" | "write" | "admin";

export interface Status {
  version: string;
  project: string;
  model: string;
  base: string;
  documents: number;
  chunks: number;
  generation: number | string | null;
  queue: { rows: number; running: number; waiting: number; capacity: number };
  warnings: string[];
  caller: { name: string; scopes: Scope[]; access: string[] | null };
  keys_required: boolean;
  tracing: boolean;
}

export interface Passage {
  number: number;
  document: string;
  title: string;
  headings: string;
  text: string;
  start: number;
  end: number;
  page: number | null;
  score: number | null;
}

export interface Citation {
  number: number;
  quote: string;
  document: string;
  title: string;
  start: number;
  end: number;
  page: number | null;
  /** The model quotes nothing: this sentence holds the words of its answer. */
  found?: boolean;
}

export interface Answer {
  trace: string | null;
  question: string;
  answer: string;
  markdown: string;
  abstained: boolean;
  withheld: boolean;
  confidence: number | null;
  model: string;
  citations: Citation[];
  unsupported: string[];
  passages: Passage[];
  usage: { prompt_tokens: number; completion_tokens: number };
  cost: number | null;
  seconds: { retrieval: number; first_token: number | null; total: number };
}

export interface Message {
  role: "user" | "assistant";
  content: string;
}

export interface AskRequest {
  question: string;
  model?: string;
  k?: number;
  history?: Message[];
  source?: string;
  media_type?: string;
  conversation?: string;
}

export type AskEvent =
  | { type: "retrieved"; data: { passages: Passage[]; seconds: number } }
  | { type: "piece"; data: { text: string } }
  | { type: "answer"; data: Answer }
  | { type: "error"; data: { error: ErrorBody } };

export interface DocumentRow {
  source: string;
  title: string;
  media_type: string;
  characters: number;
  chunks: number;
  language: string | null;
  access: string[] | null;
  duplicate_of: string | null;
  uploaded: boolean;
}

export interface Reason {
  source: string;
  reason: string;
}

export interface DocumentList {
  documents: DocumentRow[];
  total: number;
  skipped: Reason[];
  left_out: Reason[];
  skipped_total?: number;
  left_out_total?: number;
}

export interface SourceDocument {
  source: string;
  title: string;
  media_type: string;
  text: string;
  /** Of the whole text, in code points; a long one comes in parts. */
  characters?: number;
  metadata: Record<string, unknown>;
  chunks: { id: string; start: number; end: number; headings: string }[];
}

export type JobKind = "purge" | "ingest" | "dataset" | "train" | "evaluate" | "run" | "synthesise";
export type JobState = "waiting" | "running" | "done" | "failed" | "stopped";

export interface Job {
  id: string;
  kind: JobKind;
  arguments: Record<string, unknown>;
  settings: Record<string, unknown>;
  state: JobState;
  created: string;
  started: string | null;
  ended: string | null;
  seconds: number | null;
  stage: string | null;
  done: number | null;
  total: number | null;
  seconds_left: number | null;
  message: string | null;
  result: Record<string, unknown> | null;
  error: string | null;
  model: string | null;
}

export interface JobEvent {
  at: string;
  type: "progress" | "note" | "stage" | "metrics" | "state" | "log";
  [field: string]: unknown;
}

export interface MetricsRow {
  step: number;
  steps?: number;
  loss?: number;
  rate?: number;
  gradient_norm?: number;
  answers_per_second?: number;
  validation_loss?: number;
  [field: string]: number | undefined;
}

export interface Preset {
  name: string;
  title: string;
  about: string;
  kind: JobKind;
  arguments: Record<string, unknown>;
  settings: Record<string, unknown>;
}

export interface ModelRow {
  name: string;
  kind: "base" | "tuned" | "hosted";
  base: string | null;
  served: boolean;
  servable: boolean;
  created: string | null;
  seconds: number | null;
  figures: Record<string, unknown>;
  settings: Record<string, unknown>;
  dataset: string | null;
  unfinished: boolean;
}

export interface Estimate {
  value: number | null;
  low: number | null;
  high: number | null;
  n?: number;
}

export interface EvaluationRow {
  name: string;
  created: string;
  model: string | null;
  split: string | null;
  questions: number;
  decision: string;
  verdict: "better" | "worse" | "undecided";
  effect: { value: number; low: number | null; high: number | null } | null;
}

export interface GridRow {
  arm: string;
  context: string;
  stratum: string;
  questions: number;
  metrics: Record<string, Estimate>;
}

export interface Contrast {
  arm: string;
  against: string;
  context: string;
  stratum: string;
  metric: string;
  value: number;
  value_against: number;
  difference: Estimate;
  p: number | null;
  p_holm: number | null;
}

export interface Report {
  decision: "better" | "worse" | "undecided";
  sentence: string;
  named?: Contrast | null;
  contrasts: Contrast[];
  grid: GridRow[];
  retrieval?: { stratum: string; metrics: Record<string, Estimate> }[];
  models: Record<string, string>;
  questions: number;
  notes?: string[];
}

export interface Prediction {
  answer: string;
  raw: string;
  f1: number | null;
  exact: number | null;
  abstained: boolean;
  quotes: { text: string; document: string | null; start: number | null; end: number | null; valid: boolean; found?: boolean }[];
  passages: string[];
}

export interface EvaluatedQuestion {
  id: string;
  question: string;
  references: string[];
  kind: string | null;
  stratum: string | null;
  rank: number | null;
  outcome?: string | null;
  arms: Record<string, Record<string, Prediction>>;
}

export interface QuestionPage {
  questions: EvaluatedQuestion[];
  total: number;
  passages: Record<string, { document: string; title: string; text: string; start: number }>;
  kinds: string[];
  /** How many there are of each, whichever is chosen. */
  outcomes: Record<string, number>;
}

export interface TraceSummary {
  id: string;
  at: string;
  question: string;
  answer: string;
  model: string;
  abstained: boolean;
  withheld: boolean;
  confidence: number | null;
  groundedness: number | null;
  rating: "up" | "down" | null;
  seconds: number | null;
  tokens: number | null;
  key: string | null;
  /** Why there is no whole answer. */
  error: string | null;
}

export interface Trace extends TraceSummary {
  passages: Passage[];
  citations: Citation[];
  unsupported?: string[];
  raw: string;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  cost: number | null;
  scores?: number[];
  conversation: string | null;
  feedback: { rating: "up" | "down" | null; reason: string | null; correction: string | null };
}

/** What serves now; `warnings` say what may be wrong with that. */
export interface Promoting {
  note?: string;
  against?: string;
  fail_if?: string[];
}

export interface Served {
  served: string;
  previous: string;
  refused: string[];
  warnings: string[];
}

export interface Decided {
  item: ReviewItem;
  question: string | null;
  file: string | null;
  warnings: string[];
}

export interface ReviewItem {
  id: string;
  trace: string;
  /** Empty where it was not kept. */
  question: string;
  history: Message[];
  answer: string;
  why: string[];
  reason: string | null;
  correction: string | null;
  passages: Passage[];
  state: "open" | "accepted" | "dismissed";
  at: string;
  decided: string | null;
  by: string | null;
}

export interface Span {
  document: string;
  start: number;
  end: number;
}

export interface Hour {
  at: string;
  answers: number;
  abstained: number;
  errors: number;
  seconds_p50: number | null;
  seconds_p95: number | null;
  first_token_p50: number | null;
  tokens: number;
  cost: number | null;
  up: number;
  down: number;
  groundedness: number | null;
  confidence: number | null;
  top_score: number | null;
}

export interface Drift {
  psi: number | null;
  ks: number | null;
  p: number | null;
  n: number;
  baseline: number | string | null;
  verdict: string;
}

export interface Monitor {
  hours: Hour[];
  totals: Partial<Hour> & Record<string, unknown>;
  drift: Record<string, Drift | null>;
  review_open: number;
}

export interface AuditEntry {
  at: string;
  who: string;
  action: string;
  model: string;
  previous: string | null;
  note: string | null;
}

export interface ErrorBody {
  message: string;
  type: string;
  code: string | null;
  param: string | null;
}
