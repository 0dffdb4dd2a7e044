// The built pages are committed and ship in the wheel: nothing here may depend on the machine or the time.
import { defineConfig, type Plugin } from "vite";

/** KaTeX's style sheet names each font thrice; every browser that runs this page reads woff2. */
function woff2Only(): Plugin {
  return {
    name: "woff2-only",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("katex") || !id.split("?")[0]?.endsWith(".css")) return null;
      return { code: code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\(["'](?:woff|truetype)["']\)/g, ""), map: null };
    },
  };
}

/** Diagrams that few know and that cost a megabyte: one of these stays the text that it was written as. */
function fewerDiagrams(): Plugin {
  const rare = /^\.\/(?:chunks\/mermaid\.core\/)?(?:architecture|c4|cynefin|ishikawa|kanban|mindmap|swimlanes|venn|wardley|block|requirement)[-\w]*\.mjs$/;
  return {
    name: "fewer-diagrams",
    enforce: "pre",
    resolveId: (id, importer) => (importer?.includes("/mermaid/") && (rare.test(id) || /^(?:cytoscape|katex)/.test(id)) ? "\0no-diagram" : null),
    load: (id) => (id === "\0no-diagram" ? "export const diagram = null; export const render = null; export default null;" : null),
  };
}

const server = process.env["RAGTUNE_SERVER"] ?? "http://127.0.0.1:8765";

export default defineConfig({
  base: "./",
  plugins: [woff2Only(), fewerDiagrams()],

  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/ragtune/serve/web",
    emptyOutDir: true,
    // light-dark() as it is: when it is rewritten for older browsers, the choice of colours no longer reaches it.
    target: ["chrome123", "firefox128", "safari17.5"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
    license: { fileName: "licenses.md" },
  },
  server: { proxy: Object.fromEntries(["/api", "/v1", "/health", "/ready"].map((path) => [path, server])) },
});
