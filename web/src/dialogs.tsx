/** The key prompt, and what the keys of the keyboard do. */
import { useState } from "preact/hooks";
import { keyWanted, storedKey, storeKey } from "./api";
import { epoch, loadStatus } from "./state";
import { Button, Modal, Notice } from "./ui";

export function KeyPrompt() {
  const [key, setKey] = useState("");
  const refused = keyWanted.value === "refused";
  const enter = async (event: Event) => {
    event.preventDefault();
    storeKey(key.trim());
    await loadStatus();
    epoch.value++;
  };
  return (
    <Modal title="This server asks for a key" close={() => undefined} narrow>
      <form onSubmit={(event) => void enter(event)}>
        {refused && <Notice kind="error">The server does not know this key. It may have been revoked.</Notice>}
        <label class="field stacked">
          <span>Key</span>
          <input type="password" autocomplete="off" spellcheck={false} placeholder="rt-…" value={key} onInput={(event) => setKey(event.currentTarget.value)} ref={(node) => node?.focus()} />
        </label>
        <p class="quiet small">It is kept until this tab is closed. Whoever runs the server makes one with <code>ragtune keys add</code>.</p>
        <footer>
          {storedKey() && <Button onClick={() => (storeKey(null), epoch.value++)}>Forget the key</Button>}
          <Button look="main" type="submit" disabled={!key.trim()}>Go on</Button>
        </footer>
      </form>
    </Modal>
  );
}

const KEYS = [
  ["/", "write a question, from anywhere"],
  ["Enter", "ask"],
  ["Shift + Enter", "a new line"],
  ["Esc", "close the document, or stop the answer"],
  ["↑", "edit the last question, when nothing is written"],
  ["?", "this list"],
] as const;

export function Keys({ close }: { close: () => void }) {
  return (
    <Modal title="Keyboard" close={close} narrow>
      <dl class="keys">
        {KEYS.map(([key, does]) => (
          <>
            <dt><kbd>{key}</kbd></dt>
            <dd>{does}</dd>
          </>
        ))}
      </dl>
    </Modal>
  );
}
