/** Draw what Markdown leaves as text: code in colours, formulas, diagrams. Each library is fetched when a text first needs it. */

async function drawMath(nodes: HTMLElement[]): Promise<void> {
  const [{ default: katex }] = await Promise.all([import("katex"), import("katex/dist/katex.min.css")]);
  for (const node of nodes) {
    const text = node.textContent ?? "";
    // trust: false makes \href, \includegraphics and \html… an error text instead of an element.
    katex.render(text, node, { displayMode: node.tagName === "DIV", throwOnError: false, errorColor: "var(--bad)", trust: false, strict: "ignore", maxSize: 20, maxExpand: 500 });
    node.classList.replace("math", "formula");
  }
}

let drawn = 0;

async function drawDiagrams(nodes: HTMLElement[]): Promise<void> {
  const { default: mermaid } = await import("mermaid");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? document.documentElement.dataset["theme"] !== "light" : document.documentElement.dataset["theme"] === "dark";
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: "strict",
    theme: dark ? "dark" : "neutral",
    htmlLabels: false,
    flowchart: { htmlLabels: false },
    secure: ["secure", "securityLevel", "startOnLoad", "maxTextSize", "maxEdges", "htmlLabels", "flowchart", "themeCSS", "themeVariables", "fontFamily"],
  });
  for (const node of nodes) {
    const text = node.textContent ?? "";
    try {
      const { svg } = await mermaid.render(`diagram-${++drawn}`, text);
      // As an image nothing in it can run, be followed or fetch.
      const image = new Image();
      const box = /viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"/.exec(svg);
      image.alt = `Diagram, as text: ${text}`;
      if (box) image.width = Math.ceil(Number(box[1]));
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg.replace(/<br>/g, "<br/>").replace(/width="100%"/, box ? `width="${box[1]}" height="${box[2]}"` : ""))}`;
      image.className = "diagram";
      node.replaceWith(image);
    } catch {
      document.getElementById(`ddiagram-${drawn}`)?.remove();
    }
  }
}

export async function enhance(place: HTMLElement): Promise<void> {
  const math = [...place.querySelectorAll<HTMLElement>(".math")];
  const code = [...place.querySelectorAll<HTMLElement>("pre.code")];
  const isDiagram = (node: HTMLElement) => node.querySelector("code")?.className === "language-mermaid";
  const diagrams = code.filter(isDiagram);
  const programs = code.filter((node) => !isDiagram(node));
  await Promise.all([
    math.length ? drawMath(math) : null,
    diagrams.length ? drawDiagrams(diagrams) : null,
    programs.length ? import("./highlight").then(({ highlight }) => highlight(programs)) : null,
  ]);
}
