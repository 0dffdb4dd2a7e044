/** The shell: rail or bottom bar, the page, the source panel, and what concerns all pages (keys, server away, shortcuts). */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import AskPage from "./ask/page";
import { focusQuestion } from "./ask/composer";
import { History } from "./ask/history";
import { stopAll } from "./ask/run";
import { Icon, type IconName } from "./icons";
import { KeyPrompt, Keys } from "./dialogs";
import { closeSource, opened, SourcePanel } from "./source";
import { announced, away, keyWanted, link, loadStatus, may, retry, route, seesAll, status, statusError, theme, type Theme } from "./state";
import { plural } from "./text";
import { Button, Empty, lazy, Notice, useMedia, Waiting, WIDE } from "./ui";
import "./style/base.css";
import "./style/shell.css";
import "./style/ask.css";
import "./style/pages.css";

const PAGES: { name: string; title: string; icon: IconName; Page: ReturnType<typeof lazy>; open: () => boolean }[] = [
  { name: "ask", title: "Ask", icon: "ask", Page: AskPage, open: () => may("ask") },
  { name: "documents", title: "Documents", icon: "documents", Page: lazy(() => import("./documents/page")), open: () => may("read") },
  { name: "evaluate", title: "Evaluate", icon: "evaluate", Page: lazy(() => import("./evaluate/page")), open: () => seesAll.value },
  { name: "runs", title: "Runs", icon: "runs", Page: lazy(() => import("./runs/page")), open: () => seesAll.value },
  { name: "monitor", title: "Monitor", icon: "monitor", Page: lazy(() => import("./monitor/page")), open: () => seesAll.value },
];

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const typing = (node: EventTarget | null): boolean => node instanceof HTMLElement && (node.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName));

function App() {
  const wide = useMedia(WIDE);
  const [keys, setKeys] = useState(false);
  const here = route.value[0] ?? "ask";
  const page = PAGES.find((each) => each.name === here) ?? PAGES[0]!;
  useEffect(() => void loadStatus(), []);
  useEffect(() => {
    document.title = `${page.title} · ${status.value?.project ?? "ragtune"}`;
  }, [page, status.value]);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog.modal[open]")) {
        if (closeSource() || stopAll()) event.preventDefault();
      }
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      if (event.key === "/") {
        event.preventDefault();
        if (here !== "ask") location.hash = link("ask");
        setTimeout(focusQuestion, 30);
      } else if (event.key === "?") setKeys(true);
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, [here]);
  const known = status.value !== null;
  return (
    <div class={`shell ${opened.value && wide ? "with-source" : ""}`}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>Skip to the page</a>
      <header class="rail">
        <a class="brand" href={link("ask")}>
          <span><b>rag</b>tune</span>
          {known && wide && <span class="quiet">{status.value!.project}</span>}
        </a>
        <nav aria-label="Pages">
          {PAGES.filter((each) => !known || each.open()).map((each) => (
            <a key={each.name} href={link(each.name)} aria-current={each === page ? "page" : undefined}>
              <Icon name={each.icon} />
              <span>{each.title}</span>
            </a>
          ))}
        </nav>
        {wide && page.name === "ask" && known && <History />}
        <div class="foot">
          {wide && <Serving />}
          <Button icon="theme" look="quiet" label={`Colours: ${theme.value}. Change to ${NEXT[theme.value]}`} onClick={() => (theme.value = NEXT[theme.value])} />
          {wide && <Button icon="help" look="quiet" label="Keyboard (?)" onClick={() => setKeys(true)} />}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {away.value && (
          <div class="banner" role="status">
            The server cannot be reached. Nothing is lost: this page tries again every few seconds. <Button look="quiet" icon="again" onClick={() => void retry()}>Try now</Button>
          </div>
        )}
        {statusError.value && <Notice kind="error">{statusError.value}</Notice>}
        {known && status.value!.warnings.map((warning) => <Notice key={warning} kind="warning">{warning}</Notice>)}
        {known && !page.open() ? (
          <Empty icon="key" title="This key may not see this page">It may: {status.value!.caller.scopes.join(", ")}. Ask whoever gave it to you for another.</Empty>
        ) : known || page.name === "ask" ? (
          <page.Page key={page.name} />
        ) : (
          <Waiting what="the page" />
        )}
      </main>
      <SourcePanel />
      {keyWanted.value && <KeyPrompt />}
      {keys && <Keys close={() => setKeys(false)} />}
      <div class="hidden" role="status" aria-live="polite">{announced.value}</div>
    </div>
  );
}

function Serving() {
  const now = status.value;
  if (!now) return null;
  return (
    <p class="serving">
      <span class="quiet">{now.model}</span>
      <span class="quiet">{plural(now.documents, "document")}</span>
    </p>
  );
}

render(<App />, document.getElementById("app")!);
