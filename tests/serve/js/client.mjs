// Asks a server everything that OpenAI's SDK can, and prints what came as JSON.
import OpenAI from "openai";

const [baseURL, apiKey, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asked = { model: "ragtune", messages: [{ role: "user", content: question }], max_completion_tokens: 6 };

const chat = await client.chat.completions.create(asked);
let stream = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  stream += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const embedding = await client.embeddings.create({ model: "ragtune", input: "a ferry" });
const missing = await client.chat.completions.create({ ...asked, model: "gpt-4" }).catch(({ status, code }) => ({ status, code }));
const refused = await new OpenAI({ baseURL, apiKey: "rt-wrong", maxRetries: 0 }).models.list().catch((error) => error.status);
console.log(JSON.stringify({ chat, stream, usage, models, dimension: embedding.data[0].embedding.length, missing, refused }));
