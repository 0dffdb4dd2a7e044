/** One document as ragtune read it, with where its chunks begin and end. */
import { useState } from "preact/hooks";
import { api, jobEvents } from "../api";
import { jobId } from "../jobs";
import { DocumentText } from "../source";
import { link, loadStatus, may } from "../state";
import { count, plural } from "../text";
import { Button, Confirm, Search, Shown, useLoad } from "../ui";

export function DocumentView({ source }: { source: string }) {
  const loaded = useLoad(() => api.document(source), [source]);
  const [find, setFind] = useState("");
  const [chunks, setChunks] = useState(true);
  const [deleting, setDeleting] = useState(false);
  return (
    <div class="page reading">
      <p class="back"><a href={link("documents")}>Documents</a></p>
      <Shown loaded={loaded} what="the document" lines={10}>
        {(shown) => (
          <>
            <header class="page-head">
              <h1>{shown.title || source}</h1>
              {may("write") && <Button icon="trash" look="danger" onClick={() => setDeleting(true)}>Delete</Button>}
            </header>
            <p class="quiet small">
              {source} · {shown.media_type} · {count(shown.text.length)} characters · {plural(shown.chunks.length, "chunk")}
              {Object.entries(shown.metadata).map(([name, value]) => ` · ${name}: ${String(value)}`)}
            </p>
            <div class="row list-head">
              <Search label="Find in this document" value="" change={setFind} />
              <label class="chip"><input type="checkbox" checked={chunks} onChange={(event) => setChunks(event.currentTarget.checked)} /> Show the chunks</label>
            </div>
            {chunks && <p class="quiet small">The shading and the bar change where one chunk ends and the next begins. A chunk is what retrieval finds.</p>}
            <DocumentText document={shown} quotes={NONE} boundaries={chunks} find={find} />
            {deleting && (
              <Confirm title={`Delete “${shown.title || source}”?`} action="Delete" close={() => setDeleting(false)} act={() => remove(source)}>
                It is taken out of the index and nobody finds it any more. An uploaded file is deleted; a file in a folder of yours stays where it is.
              </Confirm>
            )}
          </>
        )}
      </Shown>
    </div>
  );
}

const NONE: { start: number; end: number }[] = [];

async function remove(source: string): Promise<void> {
  const id = jobId((await api.deleteDocument(source)).job);
  // It waits its turn behind other jobs: the list is not held up by that for long.
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 8000);
  if (id) for await (const event of jobEvents(id, stop.signal)) if (event.type === "state" && event["state"] !== "running" && event["state"] !== "waiting") break;
  clearTimeout(timer);
  void loadStatus();
  location.hash = link("documents");
}
