/** Where the question is written, with what it is asked of. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api";
import { Icon } from "../icons";
import { status } from "../state";
import { Button, Select, useLoad } from "../ui";
import { against, chosenModel, filter, stopAll, submit } from "./run";
import { busy, current } from "./store";
import { modelTitle } from "./turn";

const TYPES = [["", "any type"], ["text/markdown", "Markdown"], ["text/html", "web pages"], ["application/pdf", "PDF"], ["application/vnd.openxmlformats-officedocument.wordprocessingml.document", "Word"], ["text/csv", "tables (CSV)"], ["text/plain", "plain text"]] as const;

export function focusQuestion(): void {
  document.getElementById("question")?.focus();
}

export function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState("");
  const [filtering, setFiltering] = useState(false);
  const models = useLoad(api.models);
  const names = models.data?.data.map((model) => model.id) ?? ["ragtune"];
  const rest = names.filter((name) => name !== chosenModel.value);
  useEffect(() => {
    const node = area.current!;
    node.style.height = "auto";
    node.style.height = `${Math.min(node.scrollHeight, innerHeight * 0.4)}px`;
  }, [text]);
  const send = () => {
    if (!text.trim() || busy.value) return;
    submit(text.trim());
    setText("");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && !text) {
      const edits = document.querySelectorAll<HTMLButtonElement>(".edit-question");
      if (!edits.length) return;
      event.preventDefault();
      edits[edits.length - 1]!.click();
    }
  };
  const { source, media_type } = filter.value;
  return (
    <div class="dock">
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label class="hidden" for="question">Your question</label>
      <textarea
        id="question"
        ref={area}
        rows={1}
        value={text}
        placeholder={current.value ? "Ask a follow-up" : `Ask ${status.value?.project ?? "the documents"}`}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        aria-keyshortcuts="/"
        autocomplete="off"
        enterkeyhint="send"
      />
      {filtering && (
        <div class="filters" id="filters">
          <label class="field">
            <span>Only in</span>
            <input value={source} placeholder="as lines/ or *.pdf" onInput={(event) => (filter.value = { ...filter.value, source: event.currentTarget.value.trim() })} />
          </label>
          <Select label="of type" value={media_type} options={TYPES} change={(value) => (filter.value = { ...filter.value, media_type: value })} />
          {(source || media_type) && <Button look="quiet" onClick={() => (filter.value = { source: "", media_type: "" })}>Clear</Button>}
        </div>
      )}
      <div class="row">
        <Select label="Model" shown={false} value={chosenModel.value} options={names.map((name) => [name, modelTitle(name)] as const)} change={(value) => (chosenModel.value = value)} />
        {rest.length > 0 && (
          <>
            <Button
              icon="columns"
              look="quiet"
              label={against.value ? "One model alone" : "Compare with a second model"}
              aria-pressed={against.value !== null}
              onClick={() => (against.value = against.value ? null : rest.includes("base") ? "base" : rest[0]!)}
            />
            {against.value && <Select label="Second model" shown={false} value={against.value} options={rest.map((name) => [name, modelTitle(name)] as const)} change={(value) => (against.value = value)} />}
          </>
        )}
        <Button icon="filter" look="quiet" label="Choose documents" aria-expanded={filtering} aria-controls="filters" aria-pressed={Boolean(source || media_type)} onClick={() => setFiltering(!filtering)} />
        <span class="grow" />
        {busy.value ? (
          <Button icon="stop" look="main" label="Stop (Esc)" onClick={() => stopAll()} />
        ) : (
          <button type="submit" class="button main round" aria-label="Ask (Enter)" title="Ask (Enter)" disabled={!text.trim()}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
    </div>
  );
}
