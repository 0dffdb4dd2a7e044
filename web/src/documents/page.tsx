/** Documents: what answers come from, what could not be read, and more by dropping files anywhere on the page. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api, over, upload, type DocumentList, type Job, type Reason, type Uploaded } from "../api";
import { Progress, jobId, useJob } from "../jobs";
import { link, loadStatus, may, route } from "../state";
import { count, plural } from "../text";
import { Button, Empty, Notice, Pager, said, Search, Shown, useLoad } from "../ui";
import { DocumentView } from "./document";

const LIMIT = 50;

export default function DocumentsPage() {
  const source = route.value[1];
  return source ? <DocumentView source={source} /> : <List />;
}

interface Sending {
  files: readonly File[];
  sent: number;
  result: Uploaded | null;
  error: string | null;
}

function List() {
  const [query, setQuery] = useState("");
  const [offset, setOffset] = useState(0);
  const [sending, setSending] = useState<Sending | null>(null);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const loaded = useLoad(() => api.documents({ query, offset, limit: LIMIT }), [query, offset]);
  const add = async (files: readonly File[], replace = false) => {
    if (!files.length) return;
    const begun: Sending = { files, sent: 0, result: null, error: null };
    setSending(begun);
    try {
      const result = await upload(files, (sent) => setSending((old) => old && { ...old, sent }), replace);
      setSending({ ...begun, sent: 1, result });
      loaded.reload();
    } catch (error) {
      setSending({ ...begun, error: said(error) });
    }
  };
  useDrop(may("write"), setOver, (files) => void add(files));
  return (
    <div class={`page ${over ? "dropping" : ""}`}>
      <header class="page-head">
        <h1>Documents</h1>
        {may("write") && (
          <>
            <input ref={picker} type="file" multiple hidden onChange={(event) => (void add([...(event.currentTarget.files ?? [])]), (event.currentTarget.value = ""))} />
            <Button look="main" icon="upload" onClick={() => picker.current?.click()}>Upload</Button>
          </>
        )}
      </header>
      {over && <div class="drop" aria-hidden="true"><p>Drop the files: they are read at once</p></div>}
      {sending && <Upload sending={sending} close={() => setSending(null)} replace={(file) => void add([file], true)} done={() => (loaded.reload(), void loadStatus())} />}
      <Shown loaded={loaded} what="the documents" lines={8}>
        {(list) =>
          list.total === 0 && !query ? (
            <Empty icon="documents" title="No documents yet">
              <p>{may("write") ? "Drop files anywhere on this page: PDF, Word, Markdown, web pages, tables, plain text. They are read and can be asked about within seconds." : "Nobody has uploaded any. Your key may not."}</p>
            </Empty>
          ) : (
            <>
              <div class="row list-head">
                <Search label="Search titles and paths" value={query} change={(text) => (setQuery(text), setOffset(0))} />
                <span class="quiet small" role="status">{plural(list.total, "document")}</span>
              </div>
              <Table list={list} />
              <Pager offset={offset} limit={LIMIT} total={list.total} move={setOffset} />
              <Reasons title="Skipped: nothing could be read" rows={list.skipped} total={list.skipped_total} />
              <Reasons title="Left out on purpose" rows={list.left_out} total={list.left_out_total} />
            </>
          )
        }
      </Shown>
    </div>
  );
}

function useDrop(allowed: boolean, show: (over: boolean) => void, take: (files: File[]) => void): void {
  useEffect(() => {
    if (!allowed) return undefined;
    let depth = 0;
    const holds = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const move = (by: number) => (event: DragEvent) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth += by;
      show(depth > 0);
    };
    const enter = move(1);
    const leave = move(-1);
    const hover = (event: DragEvent) => holds(event) && event.preventDefault();
    const drop = (event: DragEvent) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth = 0;
      show(false);
      take([...(event.dataTransfer?.files ?? [])]);
    };
    const heard = { dragenter: enter, dragleave: leave, dragover: hover, drop } as const;
    for (const [name, handler] of Object.entries(heard)) addEventListener(name, handler as EventListener);
    return () => Object.entries(heard).forEach(([name, handler]) => removeEventListener(name, handler as EventListener));
  });
}

/** What of these files the ingest did not read, and why. */
function unread(job: Job | null, names: readonly string[]): Reason[] {
  const told = job?.result?.["ingest"] as { skipped: Reason[]; left_out: Reason[] } | undefined;
  return told ? [...told.skipped, ...told.left_out].filter((each) => names.includes(each.source)) : [];
}

function Upload({ sending, close, replace, done }: { sending: Sending; close: () => void; replace: (file: File) => void; done: () => void }) {
  const { job } = useJob(jobId(sending.result?.job), done);
  const written = [...(sending.result?.saved ?? []), ...(sending.result?.replaced ?? [])];
  const missing = unread(job, written);
  const finished = Boolean(sending.error || (sending.result && (!sending.result.job || (job && over(job)))));
  const headline = () => {
    if (sending.error) return "The upload failed";
    if (!sending.result) return `Sending ${plural(sending.files.length, "file")}…`;
    if (!finished) return "Reading what was uploaded…";
    if (job && job.state !== "done") return `Reading ${job.state}`;
    if (missing.length) return "Not everything could be read";
    if (written.length) return `${plural(written.length, "file")} read`;
    return sending.result.refused.length ? "Nothing was taken" : "Nothing new to read";
  };
  return (
    <section class="card upload" aria-label="Upload">
      <header class="row">
        <h2>{headline()}</h2>
        <span class="grow" />
        {finished && <Button icon="close" look="quiet" label="Close" onClick={close} />}
      </header>
      {!sending.result && !sending.error && (
        <div class="bar" role="progressbar" aria-label="Sent" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(sending.sent * 100)}>
          <span style={{ width: `${sending.sent * 100}%` }} />
        </div>
      )}
      {sending.error && <Notice kind="error">{sending.error}</Notice>}
      {job && <Progress job={job} />}
      {job?.error && <Notice kind="error">{job.error}</Notice>}
      {sending.result?.saved.length ? <p class="small quiet">{sending.result.saved.join(", ")}</p> : null}
      {sending.result?.replaced?.length ? <Notice>In place of what was there: {sending.result.replaced.join(", ")}</Notice> : null}
      {sending.result?.unchanged?.length ? <Notice>There already, the same: {sending.result.unchanged.join(", ")}</Notice> : null}
      {missing.map((each) => (
        <Notice key={each.source} kind="warning"><strong>{each.source}</strong>: {each.reason.replace(`${each.source} is `, "")}</Notice>
      ))}
      {sending.result?.refused.map((each) => {
        const file = each.taken && finished ? sending.files.find((one) => one.name === each.name) : undefined;
        return (
          <Notice key={each.name} kind="warning">
            <strong>{each.name}</strong>: {each.taken ? "another file of this name is there already" : each.reason}{" "}
            {file && <Button onClick={() => replace(file)}>Put this one in its place</Button>}
          </Notice>
        );
      })}
    </section>
  );
}

const TYPES: Record<string, string> = { "text/markdown": "Markdown", "text/html": "web page", "application/pdf": "PDF", "text/csv": "table", "text/plain": "text" };
const typeName = (type: string): string => TYPES[type] ?? (type.includes("word") ? "Word" : type.includes("presentation") ? "slides" : type.includes("sheet") ? "sheet" : type.split("/").pop()!);

function Table({ list }: { list: DocumentList }) {
  return (
    <ul class="documents">
      {list.documents.map((row) => (
        <li key={row.source}>
          <a href={link("documents", row.source)}>
            <span class="title">{row.title || row.source}</span>
            <span class="quiet small">{row.source}</span>
          </a>
          <span class="facts quiet small">
            <span>{typeName(row.media_type)}</span>
            <span>{count(row.characters)} characters</span>
            <span>{plural(row.chunks, "chunk")}</span>
            {row.language && row.language !== "en" && <span>{row.language}</span>}
            {row.uploaded && <span class="tag">uploaded</span>}
            {row.access?.map((tag) => <span key={tag} class="tag" title="Only keys with this tag find it">{tag}</span>)}
            {row.duplicate_of && <span class="tag">same text as {row.duplicate_of}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Reasons({ title, rows, total }: { title: string; rows: { source: string; reason: string }[]; total: number | undefined }) {
  if (!rows.length) return null;
  return (
    <details class="reasons">
      <summary>{title} <span class="count">{total ?? rows.length}</span></summary>
      <ul>
        {rows.map((row) => (
          <li key={row.source}><span>{row.source}</span> <span class="quiet">{row.reason}</span></li>
        ))}
      </ul>
    </details>
  );
}
