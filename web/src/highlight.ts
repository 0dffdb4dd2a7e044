/** Colours for code: a dozen languages, one light and one dark theme, and an engine without WebAssembly. */
import { createHighlighterCore, type HighlighterCore } from "shiki/core";
import { createJavaScriptRegexEngine } from "shiki/engine/javascript";

const LANGUAGES = {
  bash: () => import("@shikijs/langs/bash"),
  c: () => import("@shikijs/langs/c"),
  css: () => import("@shikijs/langs/css"),
  diff: () => import("@shikijs/langs/diff"),
  go: () => import("@shikijs/langs/go"),
  html: () => import("@shikijs/langs/html"),
  java: () => import("@shikijs/langs/java"),
  javascript: () => import("@shikijs/langs/javascript"),
  json: () => import("@shikijs/langs/json"),
  python: () => import("@shikijs/langs/python"),
  rust: () => import("@shikijs/langs/rust"),
  sql: () => import("@shikijs/langs/sql"),
  toml: () => import("@shikijs/langs/toml"),
  typescript: () => import("@shikijs/langs/typescript"),
  yaml: () => import("@shikijs/langs/yaml"),
};
const SHORT: Record<string, keyof typeof LANGUAGES> = { sh: "bash", shell: "bash", console: "bash", js: "javascript", jsx: "javascript", ts: "typescript", py: "python", rs: "rust", yml: "yaml", xml: "html" };

let making: Promise<HighlighterCore> | null = null;
const made = () =>
  (making ??= createHighlighterCore({
    themes: [import("@shikijs/themes/github-light-high-contrast"), import("@shikijs/themes/github-dark-high-contrast")],
    langs: [],
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  }));

export async function highlight(nodes: HTMLElement[]): Promise<void> {
  for (const node of nodes) {
    const code = node.querySelector("code");
    const asked = code?.className.replace("language-", "").toLowerCase() ?? "";
    const language = asked in LANGUAGES ? (asked as keyof typeof LANGUAGES) : SHORT[asked];
    if (!code || !language) continue;
    const highlighter = await made();
    await highlighter.loadLanguage(LANGUAGES[language]());
    const themes = { light: "github-light-high-contrast", dark: "github-dark-high-contrast" };
    const holder = document.createElement("template");
    holder.innerHTML = highlighter.codeToHtml(code.textContent ?? "", { lang: language, themes, defaultColor: "light-dark()" });
    const lines = holder.content.querySelector("code");
    if (lines) code.replaceChildren(...lines.childNodes);
  }
}
