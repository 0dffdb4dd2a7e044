/** Markdown of a model, shown so that nothing in it can act: raw HTML is text, images are words, and DOMPurify lets little through. */
import DOMPurify from "dompurify";
import { Marked, type TokenizerAndRendererExtension, type Tokens } from "marked";
import { useEffect, useMemo, useRef } from "preact/hooks";

const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

function math(name: string, level: "block" | "inline", start: RegExp, rule: RegExp): TokenizerAndRendererExtension {
  return {
    name,
    level,
    start: (text) => text.match(start)?.index,
    tokenizer(text) {
      const found = rule.exec(text);
      if (!found) return undefined;
      return { type: name, raw: found[0], text: (found[1] ?? found[2] ?? "").trim() };
    },
    renderer: (token) => `<${level === "block" ? "div" : "span"} class="math">${escape((token as Tokens.Generic)["text"] as string)}</${level === "block" ? "div" : "span"}>`,
  };
}

const marked = new Marked({
  gfm: true,
  extensions: [
    math("displayMath", "block", /\$\$|\\\[/, /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/),
    // As pandoc has it: no space inside, no figure after, so that prices stay prices.
    math("inlineMath", "inline", /\$|\\\(/, /^(?:\$(?!\s|\$)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)|\\\(([\s\S]+?)\\\))/),
  ],
  renderer: {
    html: ({ text }) => escape(text),
    image: ({ text, title }) => `<span class="quiet">[image: ${escape(text || title || "without a description")}]</span>`,
    heading(token) {
      const level = Math.min(6, token.depth + 2);
      return `<h${level}>${this.parser.parseInline(token.tokens)}</h${level}>`;
    },
    code: ({ text, lang }) => `<pre class="code" tabindex="0"><code class="language-${escape(lang?.split(/\s/)[0] ?? "")}">${escape(text)}</code></pre>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

const TAGS = "a b blockquote br code del div em h3 h4 h5 h6 hr li ol p pre span strong sub sup table tbody td th thead tr ul".split(" ");

export function toHtml(text: string): string {
  return purifier.sanitize(marked.parse(text, { async: false }), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["align", "class", "href", "start", "tabindex", "title"],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    // Of these no value is an address, so the rule for addresses above is not theirs.
    ADD_URI_SAFE_ATTR: ["align", "start", "tabindex"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
}

/** Markdown; code, formulas and diagrams are drawn once the text is whole. */
export function Markdown({ text, whole }: { text: string; whole: boolean }) {
  const node = useRef<HTMLDivElement>(null);
  const html = useMemo(() => toHtml(text), [text]);
  useEffect(() => {
    const place = node.current;
    if (!whole || !place?.querySelector("pre.code, .math")) return undefined;
    let gone = false;
    void import("./enhance").then(({ enhance }) => (gone ? undefined : enhance(place)));
    return () => void (gone = true);
  }, [html, whole]);
  return <div ref={node} class="markdown" dangerouslySetInnerHTML={{ __html: html }} />;
}
