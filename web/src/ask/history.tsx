/** What was asked before, in this browser. */
import { useState } from "preact/hooks";
import { link } from "../state";
import { date } from "../text";
import { Button, Confirm, Search } from "../ui";
import { stopAll } from "./run";
import { conversations, current, currentId, exported, forget, type Conversation } from "./store";

function save(name: string, text: string): void {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

const matches = (conversation: Conversation, query: string): boolean =>
  conversation.turns.some((turn) => `${turn.question} ${turn.columns.map((column) => column.answer?.answer ?? "").join(" ")}`.toLowerCase().includes(query.toLowerCase()));

export function newConversation(): void {
  stopAll();
  currentId.value = null;
  location.hash = link("ask");
}

export function History({ chosen }: { chosen?: () => void }) {
  const [query, setQuery] = useState("");
  const [clearing, setClearing] = useState(false);
  const all = conversations.value;
  const shown = query ? all.filter((each) => matches(each, query)) : all;
  return (
    <section class="history" aria-label="Conversations">
      <Button icon="plus" class="wide" onClick={() => (newConversation(), chosen?.())}>New question</Button>
      {all.length > 4 && <Search label="Search conversations" value={query} change={setQuery} />}
      <ul>
        {shown.map((each) => (
          <li key={each.id} class={each.id === currentId.value ? "current" : ""}>
            <a href={link("ask", each.id)} aria-current={each.id === currentId.value ? "page" : undefined} onClick={chosen} title={`${each.title} · ${date(each.at)}`}>
              {each.title}
            </a>
            <Button icon="trash" look="quiet" label={`Delete “${each.title}”`} onClick={() => forget(each.id)} />
          </li>
        ))}
      </ul>
      {query && !shown.length && <p class="quiet small">None has these words.</p>}
      {all.length > 0 && (
        <div class="row">
          {current.value && <Button look="quiet" icon="download" onClick={() => save("conversation.md", exported(current.value!))}>Export</Button>}
          <Button look="quiet" icon="trash" onClick={() => setClearing(true)}>Delete all</Button>
        </div>
      )}
      {clearing && (
        <Confirm title="Delete all conversations?" action="Delete all" act={async () => forget("all")} close={() => setClearing(false)}>
          They are kept in this browser alone and cannot be brought back. The server's traces stay.
        </Confirm>
      )}
    </section>
  );
}
