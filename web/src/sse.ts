/** Server-sent events over fetch: EventSource can send neither a key nor a question. */

export interface ServerEvent {
  event: string;
  data: string;
  id: string;
}

function parse(block: string): ServerEvent | null {
  const event: ServerEvent = { event: "message", data: "", id: "" };
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") event.event = value;
    else if (field === "id") event.id = value;
  }
  if (!data.length) return null;
  event.data = data.join("\n");
  return event;
}

export async function* events(response: Response): AsyncGenerator<ServerEvent> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      held = (held + (value ?? "")).replace(/\r\n/g, "\n");
      const blocks = held.split("\n\n");
      held = blocks.pop() ?? "";
      if (done) blocks.push(held);
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
