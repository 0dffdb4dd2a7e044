/** Ask: the conversation, and where the next question is written. */
import { useEffect, useRef, useState } from "preact/hooks";
import { storedKey } from "../api";
import { link, may, route, status } from "../state";
import { plural } from "../text";
import { Button, Empty, Modal, useMedia, WIDE } from "../ui";
import { Composer, focusQuestion } from "./composer";
import { History, newConversation } from "./history";
import { conversations, current, currentId } from "./store";
import { TurnView } from "./turn";

export default function AskPage() {
  const wide = useMedia(WIDE);
  const [listing, setListing] = useState(false);
  const asked = route.value[1];
  useEffect(() => {
    if (asked && conversations.value.some((each) => each.id === asked)) currentId.value = asked;
  }, [asked, storedKey()]);
  useEffect(() => {
    if (currentId.value && route.value[0] !== "documents" && route.value[1] !== currentId.value) history.replaceState(null, "", link("ask", currentId.value));
  }, [currentId.value]);
  useEffect(() => {
    if (wide) focusQuestion();
  }, [currentId.value]);
  const conversation = current.value;
  const turns = conversation?.turns ?? [];
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (turns.length) document.getElementById(`turn-${turns[turns.length - 1]!.id}`)?.scrollIntoView({ block: "start" });
  }, [turns.length, conversation?.id]);
  return (
    <div class={`ask ${turns.length ? "" : "fresh"}`}>
      {!wide && (
        <div class="row top">
          <Button icon="history" look="quiet" onClick={() => setListing(true)}>Conversations</Button>
          <span class="grow" />
          {turns.length > 0 && <Button icon="plus" look="quiet" onClick={newConversation}>New</Button>}
        </div>
      )}
      <h1 class={turns.length ? "hidden" : ""}>{turns.length ? conversation?.title : "What would you like to know?"}</h1>
      {!turns.length && <Welcome />}
      <div class="turns">
        {turns.map((turn, index) => (
          <TurnView key={turn.id} turn={turn} conversation={conversation!.id} last={index === turns.length - 1} />
        ))}
        <div ref={end} />
      </div>
      <Composer />
      {listing && (
        <Modal title="Conversations" close={() => setListing(false)}>
          <History chosen={() => setListing(false)} />
        </Modal>
      )}
    </div>
  );
}

function Welcome() {
  const now = status.value;
  if (!now) return null;
  if (now.documents === 0)
    return (
      <Empty icon="documents" title="There are no documents yet">
        {may("write") ? (
          <p><a href={link("documents")}>Upload some documents</a>: answers come from them, with the place quoted.</p>
        ) : (
          <p>Somebody whose key may write has to upload documents first.</p>
        )}
      </Empty>
    );
  return (
    <p class="quiet lead">
      Answers come from {plural(now.documents, "document")} of {now.project}, with the words that they rest on.
      {now.model === "base" && may("write") && (
        <> No model is tuned on them yet: <a href={link("runs")}>start a run</a>.</>
      )}
    </p>
  );
}
