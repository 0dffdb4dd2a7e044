/** Small parts that every page is made of. */
import type { ComponentChildren, ComponentType, JSX } from "preact";
import { useCallback, useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError, away } from "./api";
import { Icon, type IconName } from "./icons";
import { epoch } from "./state";

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "icon" | "label"> & { icon?: IconName; label?: string; look?: "plain" | "main" | "quiet" | "danger" };

/** A button; with an icon alone, `label` is its name and its tooltip. */
export function Button({ icon, label, look = "plain", children, class: extra, ...rest }: ButtonProps) {
  return (
    <button type="button" class={`button ${look} ${children ? "" : "round"} ${extra ?? ""}`} aria-label={label} title={label} {...rest}>
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

export function Notice({ kind = "note", children }: { kind?: "note" | "warning" | "error"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : undefined}>
      {kind !== "note" && <Icon name="warning" />}
      <div>{children}</div>
    </div>
  );
}

/** What to do next where there is nothing yet. */
export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      <div class="quiet">{children}</div>
    </div>
  );
}

export function Waiting({ what, lines = 3 }: { what: string; lines?: number }) {
  return (
    <div class="waiting" role="status">
      <span class="hidden">Loading {what}…</span>
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} class="bone" style={{ width: `${92 - ((index * 23) % 50)}%` }} />
      ))}
    </div>
  );
}

export interface Loaded<T> {
  data: T | null;
  error: string | null;
  reload: () => void;
}

/** Load on arrival, when `keys` change, and again when the server is back or another key is given. */
export function useLoad<T>(load: () => Promise<T>, keys: readonly unknown[] = []): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: string | null }>({ data: null, error: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(0);
  useEffect(() => {
    const mine = ++latest.current;
    load().then(
      (data) => mine === latest.current && setState({ data, error: null }),
      (error: unknown) => {
        if (mine !== latest.current || (error instanceof ApiError && (error.status === 0 || error.status === 401))) return;
        setState((old) => ({ ...old, error: said(error) }));
      },
    );
  }, [...keys, turn, epoch.value]);
  return { ...state, reload: useCallback(() => setTurn((n) => n + 1), []) };
}

export const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The loaded thing, its skeleton, or what went wrong with a way to try again. */
export function Shown<T>({ loaded, what, lines, children }: { loaded: Loaded<T>; what: string; lines?: number; children: (data: T) => ComponentChildren }) {
  if (loaded.error !== null)
    return (
      <Notice kind="error">
        {loaded.error} <Button look="quiet" icon="again" onClick={loaded.reload}>Try again</Button>
      </Notice>
    );
  if (loaded.data === null) return <Waiting what={what} {...(lines ? { lines } : {})} />;
  return <>{children(loaded.data)}</>;
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setMatches(media.matches);
    changed();
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return matches;
}

export const WIDE = "(min-width: 56rem)";

/** A modal dialog: the browser keeps the focus inside and gives it back. */
export function Modal({ title, close, children, narrow = false }: { title: string; close: () => void; children: ComponentChildren; narrow?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const node = dialog.current!;
    node.showModal();
    return () => node.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`modal ${narrow ? "narrow" : ""}`}
      aria-labelledby="modal-title"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => event.target === dialog.current && close()}
    >
      <div class="sheet">
        <header>
          <h2 id="modal-title">{title}</h2>
          <Button icon="close" look="quiet" label="Close" onClick={close} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

export function Confirm({ title, children, action, act, close }: { title: string; children: ComponentChildren; action: string; act: () => Promise<unknown>; close: () => void }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    await act().then(close, (failed: unknown) => setError(said(failed)));
    setBusy(false);
  };
  return (
    <Modal title={title} close={close} narrow>
      <div>{children}</div>
      {error && <Notice kind="error">{error}</Notice>}
      <footer>
        <Button onClick={close}>Cancel</Button>
        <Button look="danger" onClick={() => void go()} disabled={busy}>{action}</Button>
      </footer>
    </Modal>
  );
}

/** Choices of which one holds, as a row of links. */
export function Tabs({ label, tabs, current }: { label: string; tabs: { name: string; href: string; text: string; count?: number }[]; current: string }) {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.name} href={tab.href} aria-current={tab.name === current ? "page" : undefined}>
          {tab.text}
          {tab.count ? <span class="count">{tab.count}</span> : null}
        </a>
      ))}
    </nav>
  );
}

export function Select({ label, value, options, change, shown = true }: { label: string; value: string; options: readonly (readonly [string, string])[]; change: (value: string) => void; shown?: boolean }) {
  const id = useId();
  return (
    <span class="select">
      {shown && <label for={id}>{label}</label>}
      <select id={id} aria-label={shown ? undefined : label} title={shown ? undefined : label} value={value} onChange={(event) => change(event.currentTarget.value)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>{text}</option>
        ))}
      </select>
    </span>
  );
}

export function Search({ label, value, change }: { label: string; value: string; change: (value: string) => void }) {
  const timer = useRef(0);
  return (
    <label class="search">
      <Icon name="search" />
      <span class="hidden">{label}</span>
      <input
        type="search"
        placeholder={label}
        defaultValue={value}
        onInput={(event) => {
          const text = event.currentTarget.value;
          clearTimeout(timer.current);
          timer.current = window.setTimeout(() => change(text), 200);
        }}
      />
    </label>
  );
}

export function Pager({ offset, limit, total, move }: { offset: number; limit: number; total: number; move: (offset: number) => void }) {
  if (total <= limit) return null;
  return (
    <nav class="pager" aria-label="Pages of this list">
      <Button icon="left" label="Previous" disabled={offset === 0} onClick={() => move(Math.max(0, offset - limit))} />
      <span class="quiet">{`${offset + 1}–${Math.min(total, offset + limit)} of ${total}`}</span>
      <Button icon="right" label="Next" disabled={offset + limit >= total} onClick={() => move(offset + limit)} />
    </nav>
  );
}

/** A page in a file of its own: fetched when the browser has nothing else to do, or when it is opened. */
export function lazy(load: () => Promise<{ default: ComponentType }>): ComponentType {
  let known: ComponentType | null = null;
  const fetched = () => load().then((module) => (known = module.default));
  addEventListener("load", () => setTimeout(() => void fetched().catch(() => undefined), 1500), { once: true });
  return function Lazy() {
    const [Page, setPage] = useState<ComponentType | null>(() => known);
    useEffect(() => {
      if (!known) fetched().then((page) => setPage(() => page), () => (away.value = true));
    }, [epoch.value]);
    return Page ? <Page /> : <Waiting what="the page" />;
  };
}
